r"""Omniglot with little data: characters of alphabets that were never seen.

Training on "background small 1" (136 characters of five alphabets) or, by
`:small2`, on "background small 2" alone; asked about the alphabets that only
the other file has: 20-way one-shot tasks, each within one alphabet, the example
drawn by one hand and the question by another (Lake et al., 2015). Published for
this little data (Lake et al., 2019): people below 5 % errors, Bayesian program
learning 4.2 %, a ConvNet 23.2 %, prototypical networks 30.1 %.

    python -m experiments.prepare --name=omniglot_small \
      --images=small1=images_background_small1.zip \
      --images=small2=images_background_small2.zip
    python -m experiments.train --config=configs/omniglot_small.py:small1

Drawings are framed by the moments of their ink; quarter turns are classes of
their own; each batch's characters are warped, all drawings of one alike, so
that they are new characters; each drawing moves a little for itself. A linear
layer sees each of 7 x 7 places by itself, and the embedding is all it gives. An
image is embedded as it is and as 15 moved copies, each of which looks for the
other image (`evaluation.view_temperature`). TFDS's set `omniglot` has the same
splits: `--config.data.name=omniglot --config.evaluation.cameras=` (it doesn't
say who drew what).

Expected one-shot error, three seeds: .098 ± .003 by `:small1` (raw pixels .477,
an untrained network .315), .142 ± .002 by `:small2` (.385, .268). A training
takes 9 to 27 minutes of one CPU core. Invented alphabets beside the file
(`:small1_strokes`, `:small2_strokes`; drawing them takes minutes, once) gave
.109 and .135 in 14,000 steps, one seed. More of it: docs/results.md.
"""

from ml_collections import ConfigDict

VARIANTS = ("", "small1", "small2", "small1_strokes", "small2_strokes", "smoke")


def get_config(variant: str = "") -> ConfigDict:
  """The config; `:small2` trains on the other file, `:smoke` is for tests.

  `:small1_strokes` and `:small2_strokes` train on invented alphabets too.
  """
  if variant not in VARIANTS:
    names = ", ".join(f'"{name}"' for name in VARIANTS)
    raise ValueError(f'expected variant {names}, got "{variant}"')
  config = ConfigDict()
  config.seed = 0

  config.data = ConfigDict()
  config.data.name = "omniglot_small"
  config.data.train_split = "small1"
  config.data.eval_split = "small2"  # the other file
  config.data.image_key = ""  # features; "" are those known for the set
  config.data.label_key = ""
  config.data.group_key = ""
  config.data.image_size = "28"  # resize to "64" or "128x64", height first
  config.data.channels = 1  # 1 grey, 3 colour, 0 as in the set
  config.data.invert = True  # ink becomes white, paper black
  config.data.frame = "moments"  # what is bright is centred and scaled
  config.data.unseen = "group"  # "group": without those of train_split
  config.data.beside = ""  # another set that is trained on too: "strokes"
  config.data.beside_split = "train"
  config.data.split_by = ""  # divide by identity, group or image,
  config.data.split_fraction = 0.2  # holding out a share,
  config.data.split_seed = 0
  config.data.split_folds = 0  # or one of so many folds,
  config.data.split_fold = 0
  config.data.split_names = ()  # or these identities or groups,
  config.data.split_file = ""  # or those in a file, a line each
  config.data.cache = "auto"  # decode once if it fits; host, device or none

  config.batch = ConfigDict()
  config.batch.identities = 32
  config.batch.images = 4
  config.batch.within = ""  # "group": all of a batch is from one group
  config.batch.weights = "uniform"  # or identities by "images", or by "sqrt"
  config.batch.chunk = 0  # images a device embeds at once; 0 is all

  config.augment = ConfigDict()
  config.augment.rotation = 10.0  # degrees
  config.augment.scale = 0.12
  config.augment.shear = 0.15
  config.augment.translation = 0.03  # of the side
  config.augment.elastic = 0.02  # of the side
  config.augment.elastic_smoothness = 0.1  # of the side
  config.augment.crop = 0  # pixels
  config.augment.flip = 0.0  # probability
  config.augment.brightness = 0.0
  config.augment.contrast = 0.0
  config.augment.saturation = 0.0
  config.augment.hue = 0.0  # of the circle, up to 0.5
  config.augment.grey = 0.0  # probability
  config.augment.erasing = 0.0  # probability
  config.augment.cutout = 0.0  # of the side
  config.augment.rotation_classes = True  # quarter turns are new classes
  config.augment.identity_rotation = 15.0  # degrees, of a batch's pictures of
  config.augment.identity_scale = 0.2  # an identity alike: a new identity
  config.augment.identity_shear = 0.25
  config.augment.identity_elastic = 0.05  # of the side
  config.augment.identity_smoothness = 0.15  # of the side

  config.model = ConfigDict()
  config.model.name = "convnet_fine"
  config.model.features = (32, 64, 128)
  config.model.dimension = 784  # 16 at each of 7 x 7 places
  config.model.normalize = True
  config.model.norm = "batch"  # or "group", which batch.chunk needs
  config.model.norm_frozen = False  # BatchNorm's statistics stay
  config.model.dropout = 0.0  # probability, before the last layer
  config.model.dtype = "float32"  # computed in; "bfloat16"
  config.model.remat = False  # compute activations twice, keep fewer
  config.model.pixels = "unit"  # [0, 1]; symmetric, imagenet, lite, facenet
  config.model.pooling = "places"  # or average, gem, flatten; "" its own
  config.model.head = "linear"  # or mlp, linear_norm
  config.model.pretrained = ""  # a run's folder, a file, efficientnet_lite0;
  config.model.pretrained_ignore = ""  # without what this pattern is in

  config.loss = ConfigDict()
  config.loss.name = "triplet"
  config.loss.miner = "semi_hard"
  config.loss.triplets_per_anchor = 0  # a cap; 0 is none
  config.loss.next_miner = ""  # a curriculum: another miner ...
  config.loss.next_after = "50 percent"  # ... from here on
  config.loss.margin = 0.4
  config.loss.margin_end = config.loss.get_oneway_ref("margin")  # may move ...
  config.loss.margin_schedule = "linear"  # or "exponential"
  config.loss.margin_duration = "100 percent"
  config.loss.beta = 1.2  # of the margin loss, where its learning starts
  config.loss.contrastive = ConfigDict()
  config.loss.contrastive.positive_margin = 0.0
  config.loss.multi_similarity = ConfigDict()
  config.loss.multi_similarity.alpha = 2.0
  config.loss.multi_similarity.beta = 50.0
  config.loss.multi_similarity.base = 0.5  # the similarity between the two
  config.loss.nt_xent = ConfigDict()
  config.loss.nt_xent.temperature = 0.1
  config.loss.sup_con = ConfigDict()
  config.loss.sup_con.temperature = 0.1
  config.loss.circle = ConfigDict()
  config.loss.circle.gamma = 256.0
  config.loss.distance = "squared_euclidean"
  config.loss.reduction = "mean_active"
  config.loss.soft = False  # softplus in place of max(., 0)

  config.optimizer = ConfigDict()
  config.optimizer.name = "adamw"
  config.optimizer.learning_rate = 4e-3
  config.optimizer.weight_decay = 1e-4
  config.optimizer.momentum = 0.9  # Adam's first beta
  config.optimizer.beta2 = 0.999
  config.optimizer.epsilon = 1e-8
  config.optimizer.warmup = "10 percent"
  config.optimizer.schedule = "cosine"  # constant, linear, exponential,
  config.optimizer.drops = 1  # or a "staircase" of so many drops ...
  config.optimizer.end = 0.0  # ... to this share of the learning rate
  config.optimizer.decay_after = "0 percent"  # till then it keeps its peak
  config.optimizer.clip = 0.0  # largest norm of the gradient; 0 is any
  config.optimizer.accumulate = 1  # batches, each mined by itself, an update
  config.optimizer.ema = 0.99  # decay of averaged weights; 0 is none
  config.optimizer.freeze = ""  # parameters with this pattern in their path
  config.optimizer.rates = ""  # factors by pattern, "Dense_0=10, stem=0.1"

  config.parallel = ConfigDict()
  config.parallel.backend = "pmap"  # or "shard_map"
  config.parallel.references = "gather"  # or in a "ring", to hold fewer

  config.memory = ConfigDict()
  config.memory.size = 0  # embeddings of earlier batches as references
  config.memory.start = "10 percent"  # of training; till then it's only filled

  config.mining = ConfigDict()
  config.mining.name = "online"  # random, offline_batches, offline_triplets
  config.mining.every = "1 epochs"  # the whole set, offline
  config.mining.negatives = 5  # nearest images that are found for each
  config.mining.neighbours = 3  # identities that one brings into its batch
  config.mining.approximate = False  # approx_max_k

  config.train = ConfigDict()
  config.train.duration = "6000 steps"
  config.train.on_nonfinite = "stop"  # loss or gradient; or "skip" the update
  config.train.on_collapse = "warn"  # of all distances; or "stop", "ignore"
  config.train.spike = 10.0  # warn of a loss so many times its median; 0 never

  config.log = ConfigDict()
  config.log.every = "10 steps"

  config.evaluation = ConfigDict()
  config.evaluation.every = "100 percent"
  config.evaluation.batch_size = 256
  config.evaluation.ks = (1, 2, 4, 8)
  config.evaluation.folds = 10
  config.evaluation.far = (1e-3,)
  config.evaluation.episodes = 2000  # of one shot, each within a group
  config.evaluation.ways = 20  # identities of an episode
  config.evaluation.cameras = r"_(\d+)\.png"  # in a path: who drew it
  config.evaluation.views = 16  # an image is the mean of so many, augmented
  config.evaluation.view_temperature = 0.05  # one-shot by views; 0 by means

  config.checkpoint = ConfigDict()
  config.checkpoint.every = "25 percent"
  config.checkpoint.keep = 2  # the latest,
  config.checkpoint.best = ""  # and the best by a metric, such as "map@r"

  if variant.endswith("_strokes"):
    config.data.beside = "strokes"
  if variant.startswith("small2"):
    config.data.train_split, config.data.eval_split = "small2", "small1"
  if variant == "smoke":
    config.batch.identities = 4
    config.batch.images = 4
    config.model.features = (8, 16)
    config.model.dimension = 49
    config.train.duration = "20 steps"
    config.evaluation.batch_size = 64
    config.evaluation.episodes = 20
    config.evaluation.ways = 2
  return config

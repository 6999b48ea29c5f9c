"""Handwritten digits: small, fast, and split by image.

scikit-learn's 1,797 digits of 8 x 8. All ten digits are trained on, and asked
about in other pictures: five digits are too few to carry over to other five.

    python -m experiments.train --config=configs/digits.py

Expected, five seeds with 95 % intervals (python -m experiments.seeds
--config=configs/digits.py): recall@1 .991 ± .006, MAP@R .968 ± .011; raw pixels
.982 and .543. Time: 6 s on two CPU cores, compilation included.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
  """The config; `configs/digits.py:smoke` is a run of seconds for tests."""
  if variant not in ("", "smoke"):
    raise ValueError(f'expected variant "" or "smoke", got "{variant}"')
  config = ConfigDict()
  config.seed = 0

  config.data = ConfigDict()
  config.data.name = "digits"
  config.data.train_split = "train"
  config.data.eval_split = "test"
  config.data.image_key = ""  # features; "" are those known for the set
  config.data.label_key = ""
  config.data.group_key = ""
  config.data.image_size = ""  # resize to "64" or "128x64", height first
  config.data.channels = 0  # 1 grey, 3 colour, 0 as in the set
  config.data.invert = False  # ink becomes white, paper black
  config.data.frame = ""  # "moments": what is bright is centred and scaled
  config.data.unseen = ""  # "group": without those of train_split
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
  config.batch.identities = 10
  config.batch.images = 8
  config.batch.within = ""  # "group": all of a batch is from one group
  config.batch.weights = "uniform"  # or identities by "images", or by "sqrt"
  config.batch.chunk = 0  # images a device embeds at once; 0 is all

  config.augment = ConfigDict()
  config.augment.rotation = 10.0  # degrees
  config.augment.scale = 0.1
  config.augment.shear = 0.1
  config.augment.translation = 0.06  # of the side
  config.augment.elastic = 0.0  # of the side
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
  config.augment.rotation_classes = False  # quarter turns are new classes
  config.augment.identity_rotation = 0.0  # degrees, of a batch's pictures of
  config.augment.identity_scale = 0.0  # an identity alike: a new identity
  config.augment.identity_shear = 0.0
  config.augment.identity_elastic = 0.0  # of the side
  config.augment.identity_smoothness = 0.2  # of the side

  config.model = ConfigDict()
  config.model.name = "convnet"
  config.model.features = (32, 64)
  config.model.dimension = 32
  config.model.normalize = True
  config.model.norm = "batch"  # or "group", which batch.chunk needs
  config.model.norm_frozen = False  # BatchNorm's statistics stay
  config.model.dropout = 0.0  # probability, before the last layer
  config.model.dtype = "float32"  # computed in; "bfloat16"
  config.model.remat = False  # compute activations twice, keep fewer
  config.model.pixels = "unit"  # [0, 1]; symmetric, imagenet, lite, facenet
  config.model.pooling = ""  # its own; average, gem, flatten, places
  config.model.head = "linear"  # or mlp, linear_norm
  config.model.pretrained = ""  # a run's folder, a file, efficientnet_lite0;
  config.model.pretrained_ignore = ""  # without what this pattern is in

  config.loss = ConfigDict()
  config.loss.name = "triplet"
  config.loss.miner = "semi_hard"
  config.loss.triplets_per_anchor = 0  # a cap; 0 is none
  config.loss.next_miner = ""  # a curriculum: another miner ...
  config.loss.next_after = "50 percent"  # ... from here on
  config.loss.margin = 0.2
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
  config.optimizer.ema = 0.0  # decay of averaged weights; 0 is none
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
  config.train.duration = "300 steps"
  config.train.on_nonfinite = "stop"  # loss or gradient; or "skip" the update
  config.train.on_collapse = "warn"  # of all distances; or "stop", "ignore"
  config.train.spike = 10.0  # warn of a loss so many times its median; 0 never

  config.log = ConfigDict()
  config.log.every = "10 steps"

  config.evaluation = ConfigDict()
  config.evaluation.every = "25 percent"
  config.evaluation.batch_size = 128
  config.evaluation.ks = (1, 2, 4, 8)
  config.evaluation.folds = 10
  config.evaluation.far = (1e-3,)
  config.evaluation.episodes = 0  # of one shot, each within a group
  config.evaluation.ways = 20  # identities of an episode
  config.evaluation.cameras = ""  # in a path: who took it, such as r"_c(\d)"
  config.evaluation.views = 1  # an image is the mean of so many, augmented
  config.evaluation.view_temperature = 0.0  # one-shot by views; 0 by means

  config.checkpoint = ConfigDict()
  config.checkpoint.every = "25 percent"
  config.checkpoint.keep = 2  # the latest,
  config.checkpoint.best = ""  # and the best by a metric, such as "map@r"

  if variant == "smoke":
    config.batch.images = 4
    config.model.features = (8, 16)
    config.model.dimension = 16
    config.train.duration = "20 steps"
  return config

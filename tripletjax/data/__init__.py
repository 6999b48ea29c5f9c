"""Where pictures come from: data sets, P x K sampling and batches.

Nothing is imported here, so that `import tripletjax` stays free of TFDS and
Grain; import the module that you need.
"""

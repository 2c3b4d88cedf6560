"""The networks: what C3D is, how it is built, and how a checkpoint of any origin becomes its weights.

* `models.config`: names, shapes and conventions, without torch.
* `models.c3d`: the network itself.
* `models.builder`: `build()`, the one way to get a ready network and to know where its weights came from.
* `models.checkpoints`: readers (one for each file format) and layouts (one for each origin).
* `models.preprocessing`: what the pixels must look like before the network sees them.

Nothing here knows of export. `__init__.pyi` lists the public names. They are imported on first use, because
`models.config` must not cost an import of torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

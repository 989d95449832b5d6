"""Models of run folders where others use them: predictions, export to other formats, a web page with a JSON API."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

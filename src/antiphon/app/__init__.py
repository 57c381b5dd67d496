"""The composition root: the one package that sees everything and puts it together."""

from antiphon.app.command import serve
from antiphon.app.engines import local_engine, upstream_engine
from antiphon.app.serving import run

__all__ = ["local_engine", "run", "serve", "upstream_engine"]

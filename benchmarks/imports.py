"""A process that imports what gradclip imports and ends: its peak memory is where gradclip starts.

Every renderer is among it, because which one a command needs depends on `--format`.
"""

import importlib
import pkgutil

import safetensors  # noqa: F401

import gradclip_cli.cli.app
import gradclip_cli.commands.apply
import gradclip_cli.render

for module in pkgutil.iter_modules(gradclip_cli.render.__path__, "gradclip_cli.render."):
    importlib.import_module(module.name)

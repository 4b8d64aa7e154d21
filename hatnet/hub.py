"""HAT-Net on the Hugging Face hub (extra `timm`): `save_pretrained`, `from_pretrained` and `push_to_hub`.

The weights there are a file of `hatnet.save`, so that there is one format: `hatnet.load` reads `model.safetensors` from
such a folder. Its checksum, configuration and facts are checked in the same way.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch

try:
    from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
    from huggingface_hub.errors import HFValidationError
except ModuleNotFoundError as error:
    raise ImportError(
        "hatnet.hub needs huggingface_hub: python -m pip install 'hatnet[timm]', or pip install huggingface_hub"
    ) from error

from hatnet.checks import require_type
from hatnet.config import HATNetConfig
from hatnet.files import expand_home, json_bytes, write_whole
from hatnet.network import HATNet
from hatnet.weights.checkpoints import load_with_facts, require_as_configured, save
from hatnet.weights.source import find_source

__all__ = ["HubHATNet", "for_hub"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class HubHATNet(
    HATNet,
    PyTorchModelHubMixin,
    library_name="hatnet",
    pipeline_tag="image-classification",
    paper_url="https://doi.org/10.1007/s11633-024-1393-8",
):
    """A `HATNet` that a hub can store; `for_hub` makes one from weights.

    `about` are the facts of `hatnet.save`, such as `classes`, `mean` and `std`. `push_to_hub("USER/NAME")` uploads what
    `save_pretrained` writes.
    """

    def __init__(self, config: HATNetConfig, about: Mapping[str, object] | None = None) -> None:
        super().__init__(config)
        require_type("about", about, (Mapping, type(None)), "a table of facts by name")
        self.about = dict(about or {})

    def save_pretrained(self, save_directory: str | os.PathLike[str], **given: Any) -> str | None:
        """Write `model.safetensors`, as `hatnet.save` does, `config.json`, and a model card unless there is one.

        `given` are further arguments of `PyTorchModelHubMixin.save_pretrained`. Errors as in `hatnet.save`.
        """
        require_as_configured(self, self.about)  # before an older config.json is removed
        return super().save_pretrained(expand_home(Path(save_directory)), **given)

    def _save_pretrained(self, save_directory: Path) -> None:
        save(self, save_directory / WEIGHTS, self.about)
        write_whole(save_directory / CONFIG, json_bytes(asdict(self.config) | {"about": self.about}))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **download: Any) -> Self:
        """The network of a folder, or of `USER/NAME` on the hub, in evaluation mode, on the CPU.

        `download` are arguments of `huggingface_hub.hf_hub_download`, such as `revision` and `token`. Only
        `model.safetensors` is read: a changed `config.json` changes nothing, and no pickle is loaded. Errors as in
        `hatnet.load`.
        """
        name = pretrained_model_name_or_path
        require_type("pretrained_model_name_or_path", name, (str, os.PathLike), "a folder, or a text such as USER/NAME")
        folder = expand_home(Path(name))
        try:
            file = folder / WEIGHTS if folder.is_dir() else Path(hf_hub_download(str(name), WEIGHTS, **download))
        except HFValidationError as error:
            raise FileNotFoundError(f"{name} is neither a folder nor USER/NAME on the hub") from error
        return cls._of(*load_with_facts(file))

    @classmethod
    def _of(cls, model: HATNet, about: Mapping[str, object]) -> Self:
        """The same network and parameters."""
        with torch.device("meta"):
            ours = cls(model.config, about)
        ours.load_state_dict(model.state_dict(), assign=True)
        return ours.train(model.training)


def for_hub(weights: str | Path | HATNet, about: Mapping[str, object] | None = None) -> HubHATNet:
    """A network that has `save_pretrained` and `push_to_hub`.

    `weights` is a network, whose parameters the result shares, or a name, a file or the folder of a training, as in
    `weights_file`. `about` are facts to keep with them; None keeps those of the weights. Errors as in `find_source` and
    `hatnet.save`.

    >>> len(for_hub("fashion-mnist").about["classes"])
    10
    """
    require_type("weights", weights, (str, Path, HATNet), "a network, or the name, file or folder of weights")
    require_type("about", about, (Mapping, type(None)), "a table of facts by name")
    if isinstance(weights, HATNet):
        model, known = weights, {}
    else:
        source = find_source(weights)
        model, known = source.model, source.about
    facts = known if about is None else about
    require_as_configured(model, facts)
    return HubHATNet._of(model, facts)

"""How many files and functions of this package one validation sentence passes, from its file to F1.

    python benchmarks/one_sentence.py MODEL_FOLDER

A file with one sentence is read, tokenised, batched, tagged and scored through the Python interface; every function of
``ner_module`` that is called on the way counts once (comprehensions, properties and methods of data classes included).
``PYTHONPATH`` chooses another version of the package.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

import ner_module
from ner_module import NERDataModule, NERModule

_PACKAGE = str(Path(ner_module.__file__).parent)
_SENTENCE = "Ada\tB-PER\nLovelace\tI-PER\nmet\tO\nByron\tB-PER\n\n"


def main() -> int:
    """Trace, and print what was called."""
    from lightning.pytorch import Trainer

    model_folder = sys.argv[1]
    called: dict[str, set[str]] = defaultdict(set)

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PACKAGE) and "<" not in frame.f_code.co_name:
            called[frame.f_code.co_filename.removeprefix(_PACKAGE + "/")].add(frame.f_code.co_qualname)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "validation.conll"
        path.write_text(_SENTENCE * 2, encoding="utf-8")
        data: Any = NERDataModule(
            model_folder, train_file=str(path), validation_file=str(path), cache_dir=str(Path(folder) / "cache")
        )
        data.prepare_data()
        data.setup("fit")  # settles the labels, which a checkpoint would bring
        module = NERModule(model_folder)
        labels = [data.labels] if hasattr(data, "labels") else [data.label_names, data.scheme, data.outside_label]
        module.set_labels(*labels)  # versions before 0.3 kept the three apart
        module.build()
        again = NERDataModule(model_folder, validation_file=str(path), cache_dir=str(Path(folder) / "other"))
        again.load_state_dict(data.state_dict())
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        sys.setprofile(note)
        trainer.validate(module, again, verbose=False)
        sys.setprofile(None)
    for name in sorted(called):
        print(f"{name:<36} {', '.join(sorted(called[name]))}")
    print(f"{len(called)} files, {sum(map(len, called.values()))} functions")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Let the user choose a model in the folders of this computer: a GGUF file, or a folder of MLX weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.text import Text, TextType
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import DirectoryTree

from conself_local.foreign_text import shown
from conself_local.model_files.mlx_folder import looks_like_mlx_folder
from tui.widgets.dialog import dialog_box


class GgufTree(DirectoryTree):
    """A tree of folders and GGUF files, without hidden ones, except the folders in which other tools keep models."""

    SHOWN: ClassVar[set[str]] = {".lmstudio", ".cache", ".ollama"}
    """The hidden folders that are shown."""

    def process_label(self, label: TextType) -> Text:
        """Return a file's name as it is; Textual would parse markup in it."""
        return Text(shown(str(label), lines=False))

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [
            p
            for p in paths
            if (p.is_dir() or p.suffix == ".gguf") and (not p.name.startswith(".") or p.name in self.SHOWN)
        ]


class PickFile(ModalScreen[Path | None]):
    """A dialog, dismissed with the chosen file or folder, or with None on Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def compose(self) -> ComposeResult:
        heading = "Choose a GGUF file or a folder of MLX weights"
        with dialog_box(heading, "Enter opens or chooses   Esc changes nothing", large=True):
            yield GgufTree(self._folder)

    def on_directory_tree_file_selected(self, event: DirectoryTree.FileSelected) -> None:
        self.dismiss(event.path)

    def on_directory_tree_directory_selected(self, event: DirectoryTree.DirectorySelected) -> None:
        if looks_like_mlx_folder(event.path):
            self.dismiss(event.path)

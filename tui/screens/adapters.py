"""Show the adapters of this home: lineage, results and which one is in use; rename, delete and export them."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from conself_local.adapters.export import export_adapter
from conself_local.home import expand_user, user_home
from conself_local.round.views import adapter_rows
from conself_local.store.store import Store
from tui.screens.base import EXPECTED_ERRORS, BaseScreen, format_error
from tui.widgets.ask_dialog import AskLine, Confirm
from tui.widgets.big_table import BigTable
from tui.widgets.plain import Plain


class AdaptersScreen(BaseScreen):
    """The screen of adapters, one row per adapter, the newest first."""

    NAME = "adapters"
    AUTO_FOCUS = "#adapters"
    HELP = (
        "Each round trains one adapter, from the base model or from an earlier adapter. The next round starts from the "
        "latest accepted adapter, and `conself ask` and `conself serve` use it. u tries an adapter in the playground, "
        "a accepts it, d rejects it, n renames it, e exports the model with the adapter for other tools, and Delete "
        "removes it after asking you."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "use", "Use in playground"),
        Binding("a", "state('accepted')", "Accept"),
        Binding("d", "state('rejected')", "Reject"),
        Binding("n", "rename", "Rename"),
        Binding("e", "export", "Export"),
        Binding("delete", "delete", "Delete"),
    ]

    def compose_body(self) -> ComposeResult:
        columns = [("", 2), ("id", 4), ("name", 20), ("state", 10), ("from", 18), ("made", 20)]
        yield BigTable(columns, self._cells, id="adapters")
        yield Plain("", id="details")

    def load(self, store: Store) -> Any:
        return adapter_rows(store)

    def show(self, data: Any) -> None:
        table = self.query_one("#adapters", BigTable)
        table.set_rows(data)
        self._details()
        self.set_status("" if data else "No adapter yet. A round trains one: press 1 to start one.")

    def on_big_table_moved(self) -> None:
        self._details()

    def _details(self) -> None:
        row = self._row
        if row:
            verdicts = [f"{name}: {verdict}" for name, verdict in row["verdicts"].items()] or ["not evaluated"]
            self.query_one("#details", Plain).update("\n".join([row["path"], *verdicts]))

    @property
    def _row(self) -> dict[str, Any] | None:
        return self.query_one("#adapters", BigTable).row

    def _cells(self, row: dict[str, Any]) -> list[str]:
        trained = row["round_id"] or row["origin"]
        parent = f"adapter {row['parent_id']}" if row["parent_id"] else "base model" if trained else "imported"
        mark = "▶" if row["id"] == self.app_state.adapter_id else ""
        return [mark, str(row["id"]), row["name"], row["state"], parent, row["created_at_utc"][:19]]

    def action_use(self) -> None:
        if self._row:
            self.app_state.adapter_id = None if self.app_state.adapter_id == self._row["id"] else self._row["id"]
            self.query_one("#adapters", BigTable).refresh()
            chosen = self.app_state.adapter_id
            name = f"adapter {chosen}" if chosen else "the latest accepted adapter"
            self.notify(f"The playground uses {name}. Press 7 to open it.")

    def action_state(self, state: str) -> None:
        if row := self._row:
            self.run_with_store(lambda store: store.set_adapter_state(row["id"], state), lambda _: self.action_reload())

    def action_rename(self) -> None:
        row = self._row
        if not row:
            return

        def renamed(name: str | None) -> None:
            if name is not None:
                self.run_with_store(lambda store: store.rename_adapter(row["id"], name), lambda _: self.action_reload())

        self.app.push_screen(AskLine("New name for the adapter, then Enter", row["name"]), renamed)

    def action_delete(self) -> None:
        row = self._row
        if not row:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_with_store(deleted, lambda _: self.action_reload())

        def deleted(store: Store) -> None:
            for path in store.delete_adapter(row["id"]):
                self._remove(path)

        self.app.push_screen(Confirm(f"Delete adapter {row['id']} ({row['name']}) and its files?"), answered)

    def _remove(self, path: Path) -> None:
        """Delete a file or folder inside the home only: an imported adapter may be one of the user's own files."""
        if self.app_state.home.path in path.resolve().parents:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def action_export(self) -> None:
        row = self._row
        if not row:
            return

        def named(target: str | None) -> None:
            if target:
                self._export(row["id"], Path(target))

        folder = user_home() or Path.cwd()
        name = row["name"] if row["form"] == "mlx" else f"{row['name']}.gguf"
        self.app.push_screen(AskLine("Save the model with the adapter merged in as", str(folder / name)), named)

    @work(thread=True, exclusive=True, group="export")
    def _export(self, adapter_id: int, target: Path) -> None:
        self.app.call_from_thread(self.notify, "Exporting, then measuring how much of the adapter the file keeps ...")
        try:
            with self.app_state.reading() as store:
                path = expand_user(target)
                result = " ".join(export_adapter(store, self.app_state.home, adapter_id, "merged", "shipped", path))
        except EXPECTED_ERRORS as error:
            self.app.call_from_thread(self.notify, format_error(error), severity="error")
            return
        self.app.call_from_thread(self.notify, result)

"""Show the adapters of this home as a line of descent, with results; use, rename, delete, export and import them."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content

from conself_local.adapters.export import export_adapter
from conself_local.adapters.importing import import_adapter
from conself_local.home import user_home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model import open_model
from conself_local.round.views import adapter_rows
from conself_local.store.store import Store
from tui.design import (
    DONE,
    IN_USE,
    LEFT_OUT,
    MUTED,
    NOT_BEGUN,
    STYLE_OF_SIGN,
    day,
    plain,
    points,
    sign_of_interval,
    signed,
)
from tui.screens.base import EXPECTED_ERRORS, format_error
from tui.screens.deciding import STATES, DecidesAdapters
from tui.widgets.ask_dialog import Answer, Ask, AskLine
from tui.widgets.big_table import BigTable, Cells, Column
from tui.widgets.export_dialog import ExportChoice, ExportDialog
from tui.widgets.import_dialog import ImportChoice, ImportDialog
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain

_SIGNS = {"accepted": DONE, "rejected": LEFT_OUT, "candidate": NOT_BEGUN}
_BENCHMARKS = ("validation", "held-out")


class AdaptersScreen(DecidesAdapters):
    """The screen of adapters, one row per adapter, the newest first."""

    NAME = "adapters"
    AUTO_FOCUS = "#adapters"
    HELP = (
        "Each round trains one adapter, from the base model or from an earlier adapter; the box beside the table "
        "shows the line it comes from. The next round starts from the latest adapter that was kept, and `conself ask`"
        " and `conself serve` use it. Enter uses the adapter in the playground, a keeps it, b puts it aside, u takes "
        "that back, n renames it, e exports it for other tools, i imports one, and Delete removes it after a "
        "question."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "export", "Export"),
        Binding("i", "import", "Import"),
        Binding("n", "rename", "Rename"),
        Binding("delete", "delete", "Delete", show=False),
    ]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._in_use: int | None = None

    @property
    def adapter(self) -> int | None:
        """The adapter under the cursor."""
        return self._row["id"] if self._row else None

    def compose_body(self) -> ComposeResult:
        with Container(id="both"):
            with Panel(heading="Adapters", keys="★ in use   ✓ kept   – put aside", id="list"):
                columns = [
                    Column("", 1),
                    Column("", 2, right=True),
                    Column("name", 12, grows=True),
                    Column("from", 11),
                    Column("validation", 10, right=True),
                    Column("held-out", 9, right=True),
                    Column("made", 16, from_width=74),
                ]
                yield BigTable(columns, self._cells, id="adapters")
            with Panel(heading="Adapter", keys="Enter playground   n rename   Del delete", id="one"), VerticalScroll():
                yield Plain("", id="details")

    def load(self, store: Store) -> Any:
        return adapter_rows(store)

    def show(self, data: Any) -> None:
        self.query_one("#both").display = bool(data)
        kept = next((row["id"] for row in data if row["state"] == "accepted"), None)
        self._in_use = self.app_state.adapter_id or kept
        self.query_one("#adapters", BigTable).set_rows(data, key=lambda row: row["id"])
        self.query_one("#list", Panel).set_heading(f"Adapters  {len(data):,}")
        self._details()
        self.set_status("" if data else "No adapter yet. A round trains one: press 1 to start one; i imports one.")

    @on(BigTable.Moved)
    def _details(self) -> None:
        row = self._row
        if not row:
            return
        lines = [
            signed(self._sign(row), f"{STATES[row['state']]}, made {day(row['created_at_utc'])}"),
            plain(" ─ ".join(self._line(row)), "bold"),
        ]
        lines += [plain(f"{name}: {verdict}") for name, verdict in row["verdicts"].items()]
        if not row["verdicts"]:
            lines.append(plain("not judged", MUTED))
        lines.append(plain(row["path"], MUTED))
        self.query_one("#details", Plain).update(Content("\n").join(lines))
        self.query_one("#one", Panel).set_heading(f"Adapter {row['id']}  {row['name']}")

    def _line(self, row: dict[str, Any]) -> list[str]:
        """Return the adapters that this one comes from, the base model first, as `base`, `1 round-1`, `2 round-2`."""
        by_id = {other["id"]: other for other in self.query_one("#adapters", BigTable).rows}
        line: list[str] = []
        at: dict[str, Any] | None = row
        while at is not None and len(line) < len(by_id):
            line.append(f"{at['id']} {at['name']}")
            first, at = at, by_id.get(at["parent_id"])
        return ["base" if first["round_id"] or first["origin"] else "from elsewhere", *reversed(line)]

    @property
    def _row(self) -> dict[str, Any] | None:
        return self.query_one("#adapters", BigTable).row

    def _sign(self, row: dict[str, Any]) -> str:
        return IN_USE if row["id"] == self._in_use else _SIGNS[row["state"]]

    def _cells(self, row: dict[str, Any]) -> Cells:
        trained = row["round_id"] or row["origin"]
        parent = f"adapter {row['parent_id']}" if row["parent_id"] else "base" if trained else "elsewhere"
        sign = self._sign(row)
        results = [_result(row["results"].get(name)) for name in _BENCHMARKS]
        return [
            (sign, STYLE_OF_SIGN.get(sign, "")),
            str(row["id"]),
            row["name"],
            parent,
            *results,
            day(row["created_at_utc"]),
        ]

    @on(BigTable.Chosen)
    def _use(self, event: BigTable.Chosen) -> None:
        row = event.row
        self.app_state.adapter_id = None if self.app_state.adapter_id == row["id"] else row["id"]
        chosen = self.app_state.adapter_id
        name = f"adapter {chosen}" if chosen else "the latest adapter that was kept"
        self.notify(f"The playground uses {name}: 7 opens it.")
        self.action_reload()

    def action_rename(self) -> None:
        row = self._row
        if not row:
            return

        def renamed(name: str | None) -> None:
            if name is not None:
                self.run_with_store(lambda store: store.rename_adapter(row["id"], name), lambda _: self.action_reload())

        self.app.push_screen(AskLine(f"New name for adapter {row['id']}", row["name"]), renamed)

    def action_delete(self) -> None:
        row = self._row
        if not row:
            return

        def answered(answer: str | None) -> None:
            if answer == "delete":
                self.run_with_store(deleted, lambda _: self._deleted(row))

        def deleted(store: Store) -> None:
            for path in store.delete_adapter(row["id"]):
                self._remove(path)

        question = f"Adapter {row['id']} ({row['name']}) and its files are removed for good."
        answers = [Answer("y", "Delete it", "delete")]
        self.app.push_screen(Ask("Delete the adapter?", question, answers, stay="Leave it"), answered)

    def _deleted(self, row: dict[str, Any]) -> None:
        self.notify(f"Adapter {row['id']} ({row['name']}) is deleted.")
        self.action_reload()

    def _remove(self, path: Path) -> None:
        """Delete a file or folder inside the home only: an imported adapter may be one of the user's own files."""
        if self.app_state.home.path in path.resolve().parents:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def action_export(self) -> None:
        row = self._row
        if not row:
            return

        def chosen(choice: ExportChoice | None) -> None:
            if choice:
                self._export(row["id"], choice)

        self.app.push_screen(ExportDialog(row["name"], user_home() or Path.cwd()), chosen)

    @work(thread=True, exclusive=True, group="export")
    def _export(self, adapter_id: int, choice: ExportChoice) -> None:
        said = "Exporting, then measuring what the file keeps ..." if choice.form == "merged" else "Exporting ..."
        self.app.call_from_thread(self.notify, said)
        try:
            with self.app_state.reading() as store:
                sentences = export_adapter(
                    store, self.app_state.home, adapter_id, choice.form, choice.number_format, choice.target
                )
        except EXPECTED_ERRORS as error:
            self.app.call_from_thread(self.notify, format_error(error), severity="error", timeout=20)
            return
        self.app.call_from_thread(self.notify, "\n".join(sentences), title="Exported", timeout=30)

    def action_import(self) -> None:
        def chosen(choice: ImportChoice | None) -> None:
            if choice:
                self.notify(f"Reading {choice.path} ...")
                self.run_with_store(lambda store: self._import(store, choice), self._imported)

        self.app.push_screen(ImportDialog(self.app_state.model), chosen)

    def _import(self, store: Store, choice: ImportChoice) -> tuple[int, ImportChoice]:
        model = open_model(choice.model or bundled_model())
        return import_adapter(store, self.app_state.home, choice.path, model, choice.name, use=choice.keep), choice

    def _imported(self, done: tuple[int, ImportChoice]) -> None:
        adapter_id, choice = done
        what = "the next round begins with it" if choice.keep else "not decided: a keeps it"
        self.notify(f"Adapter {adapter_id}: {choice.name}; {what}.")
        self.action_reload()


def _result(result: dict[str, Any] | None) -> tuple[str, str]:
    """Return the difference in points, or `=` if it may be chance, and its style."""
    if result is None:
        return "not judged", MUTED
    sign = sign_of_interval(*result["interval_95"])
    return f"{points(result['difference'])} {sign}", STYLE_OF_SIGN.get(sign, "")

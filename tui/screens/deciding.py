"""Keep an adapter, put it aside, and take that back, by the same three keys wherever adapters are shown."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from conself_local.store.store import Store
from tui.screens.base import BaseScreen

STATES = {"accepted": "kept", "rejected": "put aside", "candidate": "not decided"}
"""State of an adapter in the store -> the word for it on the screens."""
_MEANS = {
    "accepted": "kept: the next round begins with it, and `conself ask` and `conself serve` use it",
    "rejected": "put aside: later rounds do not use it",
    "candidate": "not decided, as before",
}


class DecidesAdapters(BaseScreen):
    """A screen with one adapter to decide on: a keeps it, b puts it aside, u takes the last decision back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "decide('accepted')", "Keep"),
        Binding("b", "decide('rejected')", "Put aside"),
        Binding("u", "undo", "Undo", show=False),
    ]

    @property
    def adapter(self) -> int | None:
        """The adapter that the keys decide on; None if there is none."""
        raise NotImplementedError

    def action_decide(self, state: str) -> None:
        if self.adapter is None:
            self.notify("There is no adapter to decide on: a round trains one.")
            return
        self._set(self.adapter, state, "u takes it back.")

    def action_undo(self) -> None:
        if self.app_state.decided is None:
            self.notify("Nothing was decided here yet, so there is nothing to take back.")
            return
        self._set(*self.app_state.decided, "")

    def _set(self, adapter_id: int, state: str, hint: str) -> None:
        def change(store: Store) -> str:
            before = str(store.adapter(adapter_id)["state"])
            store.set_adapter_state(adapter_id, state)
            return before

        def changed(before: str) -> None:
            self.app_state.decided = (adapter_id, before) if hint else None
            self.notify(f"Adapter {adapter_id} is {_MEANS[state]}. {hint}".rstrip())
            self.action_reload()

        self.run_with_store(change, changed)

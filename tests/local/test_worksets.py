"""What a run shows: what has ended is not read again, and nothing it began with is lost."""

from blocks.state_db import SQLiteStateDB
from local.worksets import OPEN, Worksets
from tests.blocks.state_db.test_contract import add
from worksets.errors import ConfigurationError
from worksets.record import State


class Indexed(SQLiteStateDB):
    """Lists what waits only, as DynamoDB does; counts what it is asked for."""

    _block_type_slug = "indexed-state-db"
    _asked: list = []

    def list_worksets(self, states=tuple(State)):
        if set(states) - set(OPEN):
            raise ConfigurationError("worksets has no index of worksets that are complete")
        return super().list_worksets(states)

    def get(self, workset_id):
        self._asked.append(workset_id)
        return super().get(workset_id)


def test_what_ends_is_read_once_more_and_kept(tmp_path):
    db = Indexed(path=str(tmp_path / "state.db"))
    db._asked = []
    add(db, "w1", "w2")
    worksets = Worksets(db)
    assert {r.workset_id: r.state for r in worksets.look()} == dict.fromkeys(
        ("w1", "w2"), State.READY
    )
    db.cancel("w1", "wrong")
    db._asked = []
    for _ in range(3):
        assert {r.workset_id: r.state for r in worksets.look()} == {
            "w1": State.CANCELLED, "w2": State.READY,
        }  # fmt: skip
    assert db._asked == ["w1"]
    add(db, "w3")
    assert len(worksets.look()) == 3

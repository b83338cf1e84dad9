"""Configured integrations (interfaces.Integrations)."""

from __future__ import annotations

from collections.abc import Sequence

from scep_server.errors import ConfigurationError
from scep_server.ledger.database import DatabaseError, Session, Trouble, trouble_of
from scep_server.ledger.jobs import Done
from scep_server.ledger.reader import Reader
from scep_server.ledger.rows import integration_of, integration_parameters
from scep_server.ledger.writer import Writer
from scep_server.types import Event, Integration

MARK = {"name": "integrations"}


class IntegrationsPart:
    """Integrations on one database."""

    _writer: Writer
    _reader: Reader

    def integrations(self) -> Sequence[Integration]:
        """Blocking read. All, by name."""
        return [integration_of(row) for row in self._reader.read(lambda session: session.all(session.sql.integrations))]

    def integrations_mark(self) -> int:
        """Blocking read. Rises with every change; 0 before the first."""
        row = self._reader.read(lambda session: session.one(session.sql.mark, MARK))
        return 0 if row is None else int(row[0])

    async def put_integration(
        self, integration: Integration, expected_version: int | None, events: Sequence[Event]
    ) -> None:
        """Insert (expected_version None, stored as version 1) or replace (stored as expected_version + 1).
        ConfigurationError when the name is taken, or was changed or deleted meanwhile.
        """
        parameters = integration_parameters(integration)
        name = integration.name

        def work(session: Session) -> Done[None]:
            if expected_version is None:
                _add(session, name, parameters)
            else:
                change = {**parameters, "of_name": name, "expected": expected_version}
                if not session.change(session.sql.replace_integration, change):
                    raise ConfigurationError(
                        f"integration {name} was changed or deleted meanwhile: look at it again, then repeat the change"
                    )
            session.change(session.sql.raise_mark, MARK)
            return Done(None)

        await self._writer.run(work, events)

    async def delete_integration(self, name: str, events: Sequence[Event]) -> bool:
        """False when there is none of this name."""

        def work(session: Session) -> Done[bool]:
            found = session.change(session.sql.delete_integration, {"of_name": name})
            if found:
                session.change(session.sql.raise_mark, MARK)
            return Done(found, wrote=found)

        return await self._writer.run(work, events)


def _add(session: Session, name: str, parameters: dict[str, object]) -> None:
    try:
        session.change(session.sql.add_integration, parameters)
    except DatabaseError as error:
        if trouble_of(error) is Trouble.UNIQUE:
            raise ConfigurationError(
                f"integration {name} exists already: choose another name, or use `integration set`"
            ) from error
        raise

"""Who may read the console and who may act: what Airflow's auth manager says, asked as Airflow's own routes ask it.

Reading takes the right to read runs of the DAGs that the pages are about; an action takes what Airflow's own route for
it takes. That route decides again when the action is carried out: this is for what the page offers, and for words that
a person understands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

from include.console.view import Powers
from plugins.console import DAGS
from plugins.console.facts import Facts

READ = ("train", "release", "monitor")  # whose runs a reader of the console may read
_FOREIGN = "It came from another site, or from a program that does not say where it comes from. Nothing was changed."


@dataclass(frozen=True)
class Reader:
    """Somebody who may read the console."""

    user: Any
    teams: Mapping[str, str | None]

    @property
    def name(self) -> str:
        return str(self.user.get_name())

    def may(self, method: Any, entity: DagAccessEntity, *dags: str) -> bool:
        return all(
            get_auth_manager().is_authorized_dag(
                method=method,
                access_entity=entity,
                details=DagDetails(id=dag, team_name=self.teams.get(dag)),
                user=self.user,
            )
            for dag in dags
        )

    def may_run(self, dag: str) -> bool:
        return self.may("POST", DagAccessEntity.RUN, dag)

    def may_answer(self) -> bool:
        """Whether questions that are nobody's in particular are this reader's to answer."""
        return self.may("PUT", DagAccessEntity.HITL_DETAIL, "release")

    def may_answer_all(self, facts: Facts) -> bool:
        """Whether all questions that wait are: also those that are put to somebody in particular."""
        asks = get_auth_manager().is_authorized_hitl_task
        return self.may_answer() and all(
            asks(assigned_users=set(users), user=self.user) for users in facts.assigned.values()
        )

    def powers(self, facts: Facts) -> Powers:
        return Powers(
            user=self.name,
            retrain=self.may_run("train"),
            rollback=self.may_run("rollback"),
            freeze=self.may_run("freeze"),
            approve=self.may_answer_all(facts),
        )


def reader(user: GetUserDep) -> Reader:
    """Depended on by every route. Raises 401 for nobody, 403 for somebody who may not read."""
    found = Reader(user, DagModel.get_dag_id_to_team_name_mapping(list(DAGS)))
    if not found.may("GET", DagAccessEntity.RUN, *READ):
        raise HTTPException(403, f"Your user may not read runs of {', '.join(READ)}, which this page is about.")
    return found


Reads = Annotated[Reader, Depends(reader)]


def same_origin(request: Request) -> None:
    """Depended on by every action: no other site can act in the name of whoever is logged in. Raises 403.

    Browsers say where a request comes from, and no script can make them lie. A program that says nothing of the kind
    must bring its token itself: what a browser adds on its own, the cookie, is not enough.
    """
    if not own(request.headers, hosts(request)):
        raise HTTPException(403, _FOREIGN)


def own(headers: Mapping[str, str], hosts: frozenset[str]) -> bool:
    """Whether a request comes from a page of one of these hosts, or from a program with a token of its own. Pure."""
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] == "same-origin"
    if "origin" in headers:
        return urlsplit(headers["origin"]).netloc.lower() in hosts - {""}
    return headers.get("authorization", "").lower().startswith("bearer ")


def hosts(request: Request) -> frozenset[str]:
    """What this server is called: by this request, and by Airflow's configuration where a proxy renames it."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").netloc
    return frozenset({request.headers.get("host", "").lower(), base.lower()})

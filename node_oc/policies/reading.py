"""A policy from what a file says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node_oc.errors import NodeOCError, StoreError
from node_oc.policies.fixed import FixedDepth
from node_oc.policies.policy import Policy
from node_oc.policies.regressed import Regressed
from node_oc.policies.threshold import Threshold

KINDS: dict[str, type[Policy]] = {"fixed": FixedDepth, "threshold": Threshold, "regressed": Regressed}


def policy_from(spec: Mapping[str, Any]) -> Policy:
    """The policy of a description, as ``Policy.spec`` makes it.

    Raises:
        StoreError: a kind or a key that this version does not know, one that is missing, or values that do not fit.
    """
    kind = spec.get("kind") if isinstance(spec, Mapping) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise StoreError("policy", got=f"kind {kind!r}", expected=" or ".join(sorted(KINDS)),
                         do="The file is of a newer version: upgrade node_oc.")  # fmt: skip
    try:
        return KINDS[kind](**{key: _frozen(value) for key, value in spec.items() if key != "kind"})
    except (TypeError, ValueError, NodeOCError) as error:
        raise StoreError("policy", got=f"{error}", expected=f"a policy of kind {kind!r}",
                         do="The file was altered; fit the policy again.") from error  # fmt: skip


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value

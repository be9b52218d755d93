"""Finds the model that is meant by SKILL or SKILL@DIGEST, among those that known nodes offer; it chooses no peer."""

from __future__ import annotations

from swarmharness.errors import UnavailableError
from swarmharness.registry.models import ModelKey, model_key, parse_skill, select
from swarmharness.routing.router import Router


async def find_model(router: Router, text: str) -> ModelKey:
    """Return the model that is meant; for SKILL, a key without a digest.

    Nodes that cannot be asked now count too, or another model would be taken in the place of theirs. Raises
    ConfigurationError for digits that are none, or that several models begin with; UnavailableError if none does.
    """
    skill, digits = parse_skill(text)
    if not digits:
        return model_key(skill, b"")
    problem: UnavailableError | None = None
    try:
        await router.choose(skill, limit=1, explores=False)  # so that a skill that nobody asked for yet is looked up
    except UnavailableError as error:
        problem = error
    models = router.models(skill)
    if problem is not None and not models:
        raise problem
    return model_key(skill, select(skill, digits, {model.digest: model.nodes for model in models}))

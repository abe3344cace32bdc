"""What adopting a model found, as a table, and what would be trained; a model's weights from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from node_oc.cli.display import console

if TYPE_CHECKING:
    from node_oc.config import Config
    from node_oc.discretization import Network


def list_branches(config: Config, known: bool, weights: Path | None, kind: str = "") -> None:
    """What adopting found, as a table, and what would be trained.

    Args:
        config: of kind adopted.
        known: whether its data are meant, so that the model is checked against them.
        weights: a file to take the model's weights from.
        kind: type of the input where that is whole numbers.
    """
    import torch
    from rich import box
    from rich.table import Table

    from node_oc import pipeline
    from node_oc.discretization import Network
    from node_oc.measuring import branch_flops, count_flops
    from node_oc.report import number
    from node_oc.system import AdoptedSystem, adopted_from
    from node_oc.system.adopt import source_of

    c = config.system
    if known:
        network = pipeline.make_network(config, pipeline.load_split(config))
    else:
        network = Network(
            adopted_from(**source_of(str(c.model), [2, *c.image, *([kind] if kind else [])], c.arguments))
        )
    if weights is not None:
        with_weights(network, weights)
    system = cast(AdoptedSystem, network.system)
    x = torch.zeros(1, *c.image, dtype=getattr(torch, kind or "float32"))
    flops, whole = branch_flops(system, x), count_flops(network, x)
    sizes = {name: p.numel() for name, p in system.named_parameters(remove_duplicate=False)}
    sizes = {name.removeprefix("model."): size for name, size in sizes.items()}
    total = sum(p.numel() for p in system.parameters())
    table = Table(title=f"{c.model}: {system.depth} branches", title_justify="left", box=box.SIMPLE_HEAD,
                  pad_edge=False, padding=(0, 1, 0, 0))  # fmt: skip
    for heading in ("k", "module", "skip", "parameters", "FLOPs", "group"):
        table.add_column(heading, justify="right" if heading in ("k", "parameters", "FLOPs") else "left")
    for branch, each in zip(system.branches, flops, strict=True):
        group = sum(sizes[name] for name in branch.group)
        own = "shared" if branch.shared else f"own, {number(group)}" if group else "none"
        table.add_row(str(branch.k), branch.module, branch.skip, number(sum(sizes[n] for n in branch.parameters)),
                      number(each), own)  # fmt: skip
    inside = sum(sizes[name] for name in {n for branch in system.branches for n in branch.parameters})
    table.add_section()
    table.add_row("", "all branches", "", number(inside), number(sum(flops)), "")
    table.add_row("", "the model", "", number(total), number(whole), "")
    console.print(table)
    print("FLOPs of one input. Group: the parameters whose zero makes a branch zero, and what a price acts on.")
    print("A language model is trained from Python: docs/language.md." if kind else _plan(config, system))


def _plan(config: Config, system: Any) -> str:
    """What would be done without --dry-run."""
    if system.tied:
        return ("Branches share parameters with each other or with the trunk: none of them can be left out alone, and "
                "there is no depth to search for.")  # fmt: skip
    c, search = config.training, config.search
    cost = next((f"{100 * share:g} % of its {name}" for name, share in (("FLOPs", search.flops),
                 ("latency", search.latency)) if share is not None), "")  # fmt: skip
    least = f", at least {c.min_updates:,} updates" if c.min_updates else ""
    return (f"Without --dry-run the whole model is trained with the loss at all {system.depth + 1} depths for "
            f"{c.epochs} epochs{least}, then at a rising price of a branch; it is cut to the "
            f"{f'deepest network with {cost}' if cost else 'fewest branches'}, "
            f"{'healed' if search.heal else 'not healed'}, measured against a budget of {search.budget:g}, certified, "
            "exported and reported.")  # fmt: skip


def with_weights(network: Network, path: Path) -> Network:
    """The network with the model's weights from a file that no code can hide in."""
    from node_oc.errors import StoreError
    from node_oc.store import read_tensors

    tensors, own = read_tensors(path), network.system.state_dict()
    places = {own[name].data_ptr(): value for name, value in tensors.items() if name in own}
    # A file has a tensor once that the model has under two names.
    tensors |= {name: places[t.data_ptr()] for name, t in own.items() if name not in tensors and t.data_ptr() in places}
    try:
        network.system.load_state_dict(tensors)
    except RuntimeError as error:
        raise StoreError(str(path), got="; ".join(line.strip() for line in str(error).splitlines()[1:4]),
                         expected="a state_dict of the model, as made with these arguments",
                         do="Correct --arg, or save it again: safetensors.torch.save_model(model, path)."
                         ) from error  # fmt: skip
    return network

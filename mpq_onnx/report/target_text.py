"""A target in words: a table of its rules, and what it leaves of everything else."""

from collections.abc import Mapping

from tabulate import tabulate

from mpq_onnx.targets.description import ANALOG_NAMES, OPTIONS, Format, Rule, Target, WeightFormat, listed

COLUMNS = ("operators", "weights", "inputs", "outputs", "pairs")
ANYTHING = "any"


def target_table(targets: Mapping[str, Target]) -> str:
    """One line a target."""
    rows = [[name, ", ".join(each.hand_off) or ANYTHING, each.about] for name, each in targets.items()]
    return tabulate(rows, ["target", "hand-off", ""], disable_numparse=True)


def target_text(target: Target) -> str:
    """The whole of a target."""
    parts = [f"{target.name}: {target.about}" if target.about else target.name]
    if target.rules:
        rows = [_row(rule) for rule in target.rules]
        table = tabulate(rows, COLUMNS, disable_numparse=True, maxcolwidths=[34, 34, 18, 18, 24])
        parts.append(table + "\n(of several rows for one operator the last that says something holds)")
    else:
        parts.append("every operator in every format")
    fixed = [(name, target.option(name)) for name in OPTIONS]
    fixed += [(f"analog {name}", target.analog_option(name)) for name in ANALOG_NAMES]
    fixed += [("hand-off", target.hand_offs)]
    rows = [[name.replace("_", "-"), listed(said.values)] for name, said in fixed if said is not None]
    if rows:
        parts.append(tabulate(rows, tablefmt="plain", disable_numparse=True))
    return "\n\n".join(parts)


def _row(rule: Rule) -> list[str]:
    return [
        rule_words(rule),
        _weights(rule.weights),
        _bits(rule.inputs),
        _bits(rule.outputs),
        ", ".join(rule.pairs or ()),
    ]


def rule_words(rule: Rule) -> str:
    """Which operators a rule is for."""
    words = []
    if rule.depthwise is not None:
        words.append("depthwise" if rule.depthwise else "not depthwise")
    words += [" and ".join(rule.place)] if rule.place else []
    words += [", ".join(rule.operators)] if rule.operators else []
    words += [f"named {', '.join(rule.names)}"] if rule.names else []
    return "; ".join(words) or "all"


def _bits(said: Format | None) -> str:
    return "" if said is None or said.bits is None else f"{_numbers(said.bits)} bits"


def _weights(said: WeightFormat | None) -> str:
    if said is None:
        return ""
    parts = [_bits(said)] if said.bits else []
    parts += [" or ".join(said.scheme)] if said.scheme else []
    parts += [f"a scale a {' or '.join(said.scales)}"] if said.scales else []
    return "; ".join(parts)


def _numbers(bits: tuple[float | str, ...]) -> str:
    return ", ".join(each if isinstance(each, str) else f"{each:g}" for each in bits)

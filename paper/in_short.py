"""The answer in a few sentences: what was found beside what the paper says and what the controls show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Claims = Mapping[str, dict]  # by id
NOTHING = {"estimate": None}
AGREEMENT = "correlation of matched masks between seeds"


def sentences(document: dict) -> list[str]:
    """One sentence for each of a few claims of a `claims.json` that were measured, in Markdown; no word is a verdict
    but the computed ones."""
    claims = {claim["id"]: claim for claim in document["claims"]}
    said = []
    for write, needs in WRITERS:
        if all(name in claims and claims[name]["readings"] for name in needs):
            said.append(write(claims))
    return said


def _early(claims: Claims) -> str:
    c = claims["C01"]
    return (
        "**Early positions**: the advantage, one minus the ratio of their error to that of late ones, is "
        f"{_percent(c)}; the paper says 15 %. In the standard dictionary it is {_percent(c, 'standard')}, trained on "
        f"shuffled positions {_percent(c, 'shuffled_positions')}. {_verdict(c)}"
    )


def _weights(claims: Claims) -> str:
    c = claims["C13"]
    return (
        f"**Uniform instead of adaptive weights** change the error by {_percent(c)}; the paper says they raise it by "
        f"18 %. {_verdict(c)}"
    )


def _gain(claims: Claims) -> str:
    standard, shuffled = (
        next(
            (c for c in claims["C16"]["context"] if c["name"] == f"FVU of the method over that of {name} - 1"), NOTHING
        )
        for name in ("the standard dictionary", "the control on shuffled positions")
    )
    return (
        f"**Reconstruction**: against the standard dictionary the unexplained variance differs by {_shown(standard)}, "
        f"against the control trained on shuffled positions, which lacks position alone, by {_shown(shuffled)}."
    )


def _masks(claims: Claims) -> str:
    moved, static = claims["C20"], claims["C12"]
    recur, names = "", (AGREEMENT, f"{AGREEMENT}, shuffled_positions")
    agree, control = (_named(moved, name) for name in names)
    if agree and control:
        recur = f", and masks of one feature correlate at {agree} between seeds, there at {control}"
        own, other = (_named(moved, name.replace(AGREEMENT, f"{AGREEMENT}, own windows")) for name in names)
        if own and other:
            recur += f" (at {own} and {other} between seeds that share no training windows)"
    return (
        f"**Masks**: moving them to other positions raises the unexplained variance by {_percent(moved)}, in a "
        f"dictionary trained on shuffled positions by {_percent(moved, 'shuffled_positions')}{recur} "
        f"{_verdict(moved)} Static windows lose {_percent(static)} of the explained variance. {_verdict(static)}"
    )


def _spans(claims: Claims) -> str:
    widths = [claims[name] for name in ("C05", "C06", "C07")]
    own = ", ".join(_number(c["readings"][0]["estimate"]) for c in widths)
    standard = ", ".join(_number(_control(c, "standard")["estimate"]) for c in widths)
    return (
        f"**Spans** of the features that depend on position are {own} positions wide in the shallow, middle and deep "
        f"layer, in the standard dictionary {standard}; the paper says 16, 32 to 48, 64. {_verdict(*widths)}"
    )


def _position(claims: Claims) -> str:
    c = claims["C19"]
    return (
        f"**Features that depend on position** beyond chance, from position 8 on: {_percent(c)} of those that can be "
        f"tested; in the standard dictionary {_percent(c, 'standard')}. {_verdict(c)}"
    )


WRITERS: tuple[tuple[Callable[[Claims], str], tuple[str, ...]], ...] = (
    (_early, ("C01",)),
    (_weights, ("C13",)),
    (_gain, ("C16",)),
    (_masks, ("C20", "C12")),
    (_spans, ("C05", "C06", "C07")),
    (_position, ("C19",)),
)


def _verdict(*claims: dict) -> str:
    due = {"yes": ", due to the method: yes", "no": ", due to the method: no"}
    return "(" + "; ".join(f"{c['id']}: {c['verdict']}{due.get(c['attributable'], '')}" for c in claims) + ".)"


def _named(claim: dict, name: str) -> str | None:
    """A reading by its name, to two decimals; None where it was not measured."""
    found = next((r for r in claim["readings"] + claim["context"] if r["name"] == name), NOTHING)
    x = found["estimate"]
    return None if x is None else f"{x:.2f}".replace("-", "−") if round(x, 2) else "0.00"


def _control(claim: dict, variant: str) -> dict:
    """The control of the deciding reading in a variant."""
    return next((c for c in claim["controls"] if c["name"].endswith(f", {variant}")), NOTHING)


def _percent(claim: dict, variant: str | None = None) -> str:
    """The deciding reading, or its control in a variant, in per cent, with its interval if it has one."""
    return _shown(_control(claim, variant) if variant else claim["readings"][0])


def _shown(r: dict) -> str:
    if r["estimate"] is None:
        return "n/a"
    text = f"{_number(100 * r['estimate'])} %"
    return text if r.get("low") is None else f"{text} [{_number(100 * r['low'])}, {_number(100 * r['high'])}]"


def _number(x: float | None) -> str:
    if x is None:
        return "n/a"
    text = f"{x:.3g}" if abs(x) >= 10 else f"{x:.1f}"
    return text.replace("-", "−") if float(text) else "0"

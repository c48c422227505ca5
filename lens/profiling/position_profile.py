"""What a dictionary does at each position of a text: the result of `lens.profile`, its figures and its folder."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from lens import files
from lens.activations.store import digest, write_json
from lens.figures import clocks as clock_figures
from lens.figures import features as feature_figures
from lens.figures import positions as position_figures
from lens.figures.looks import Looks
from lens.figures.plot import FigureError, Plot
from lens.figures.plot import save as save_plot
from lens.figures.spans import span_distributions
from lens.measure.late_spans import FIRST as FIRST_SPAN
from lens.measure.verdicts import VERDICTS
from lens.profiling.shown import FILE, Shown

ABOUT, CLOCKS = "about.json", "clocks.csv"
UNFINISHED = "unfinished"  # in about.json, while the rest is written
TABLES, INDEXED = ("summary", "positions", "features", "rates", "null_rates"), ("rates", "null_rates")


class ProfileError(ValueError):
    """A profile cannot be taken of this dictionary, model and text; the message says what does not fit."""


@dataclass(frozen=True)
class About:
    """What was profiled: enough to do it again."""

    dictionary: str
    model: str
    layer: str
    text: str
    """sha256 of the text, or of the activations where these were given"""
    windows: int
    length: int
    """T, tokens of a window"""
    fidelity_windows: int
    """windows on which the dictionary was spliced into the model"""
    permutations: int
    seed: int
    bos: bool = True
    """whether position 0 held BOS"""
    given: bool = False
    """whether activations were given, and no language model read a text"""

    @property
    def place(self) -> str:
        """Whose activations were read, in words."""
        return f"layer {self.layer} of {self.model}" if self.layer else self.model


@dataclass(frozen=True)
class PositionProfile:
    """The result of `profile`: tidy tables, figures of them, and a way to disk."""

    about: About
    summary: pd.DataFrame
    """measure by measure, over `text` positions or `all` with BOS (columns positions, metric, value, n, unit): fvu, the
    same without outlier tokens (norm above 10 times the median: massive activations) and their number, l0, delta_ce
    and kl (`all`: BOS is replaced as well, the predictions scored are the same), share of positional features, and more
    (see `lens.profiling.reconstruction`)"""
    positions: pd.DataFrame
    """the same by position: fvu_global, fvu_position, mse, l0, sq_norm, delta_ce, kl, ... (position, metric, value, n,
    unit); position t of delta_ce and kl is the prediction of token t + 1"""
    features: pd.DataFrame
    """a row per feature: density, positional (false discovery rate 5 %), p, information (share of the firing entropy
    that position explains, chance taken off), fwhm and its null, centre, effective_ratio, token_share (see
    `lens.measure.spans`); for how long it stays on: dwell and firing_autocorrelation with what permuted firings give,
    autocorrelation_time; and of windows of 48 tokens or more, from position 16 on: depth of its modulation with an
    interval, material, peak, first, last and width of its span, censored, stretches, share_inside, and flat_material
    and ramp_width of features without a span (see `lens.measure.late_spans`); nan where it fires too rarely to tell"""
    rates: pd.DataFrame
    """firing rate by position (index: 1..T-1) and feature (columns)"""
    null_rates: pd.DataFrame
    """low and high of each feature: where 95 % of its rates lie when each window's positions are shifted in a circle"""
    shown: Shown | None = None
    """what `lens explore` shows beside the tables, if contexts were asked for"""
    clocks: pd.DataFrame | None = None
    """rate of firing by clock, if clocks were asked for: clock, since (tokens since it started), tokens (how many there
    are), and each feature's rate on them. `features` then has for each clock since_<clock> (whether firing depends on
    it), since_<clock>_p, since_<clock>_information, and positional_given_<clock>: whether it depends on the position
    among tokens at equal distance"""

    def plot_positions(
        self, metric: str = "fvu_global", *, others: Sequence[PositionProfile] = (), bos: bool = False
    ) -> Plot:
        """A per-position curve: `fvu_global`, `fvu_position`, `mse`, `l0`, `delta_ce` or `kl`.

        Args:
            others: profiles to draw beside this one.
            bos: show position 0 too, on a logarithmic axis.

        Raises:
            FigureError: there is no such metric, it was not measured, or two profiles have one name.
        """
        if metric not in position_figures.METRICS:
            raise FigureError(f"no curve {metric!r}: choose one of {', '.join(position_figures.METRICS)}")
        drawn = [self, *others]
        if missing := [p.name for p in drawn if metric not in set(p.positions["metric"])]:
            hint = "; profile with fidelity of 1 or more" if metric in ("delta_ce", "kl") else ""
            if any("fvu" not in set(p.summary["metric"]) for p in drawn):
                hint = "; an encoder that writes something else than it reads has no reconstruction of its input"
            raise FigureError(f"{metric} was not measured of {', '.join(missing)}{hint}")
        if len({p.name for p in drawn}) < len(drawn):
            raise FigureError(f"two profiles have one name: {', '.join(p.name for p in drawn)}")
        curves = [p.positions.assign(layer=p.about.layer, variant=p.name, seed=-1) for p in drawn]
        looks = Looks(variants=tuple(p.name for p in drawn))
        return position_figures.per_position_error(pd.concat(curves), looks, metric=metric, bos=bos)

    def plot_features(self) -> Plot:
        """Information and width of every feature against its density, and the widths that chance gives."""
        return feature_figures.overview(self.features)

    def plot_spans(self) -> Plot:
        """The distribution of the widths of the features' spans from position 16 on, that of ramps, and where they lie.

        Raises:
            FigureError: windows are too short for spans.
        """
        return span_distributions(
            self.features.assign(layer=self.about.layer, variant=self.name),
            Looks(variants=(self.name,)),
            self.about.length - 1,
        )

    def plot_feature(self, feature: int) -> Plot:
        """One feature's firing rate by position, with its null band.

        Raises:
            FigureError: there is no such feature.
        """
        return feature_figures.card(feature, self.features, self.rates, self.null_rates, self.about.place)

    def plot_clocks(self, feature: int | None = None) -> Plot:
        """Features on at a token by the tokens since each clock started; of one feature, its rate of firing.

        Raises:
            FigureError: no clock was asked for, or there is no such feature.
        """
        if self.clocks is None:
            raise FigureError("no clock was measured; profile with clocks=[...] (--clock on a command line)")
        return clock_figures.by_clock(self.clocks, self.about.place, feature)

    def save(self, folder: Path | str) -> Path:
        """Write every table as CSV, the figures and, last, `about.json` into `folder`, which is made; the folder.

        Raises:
            ProfileError: files lie there under these names that no profile wrote.
            OSError: the folder can't be made or written in.
        """
        folder = Path(folder)
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / ABOUT, {UNFINISHED: True})
        for name in TABLES:
            table = getattr(self, name).to_csv(index=name in INDEXED, float_format="%.6g", lineterminator="\n")
            files.write(folder / f"{name}.csv", table.encode())
        measured = set(self.positions["metric"])
        for metric in position_figures.METRICS:
            if metric in measured:
                save_plot(self.plot_positions(metric), folder, metric)
        save_plot(self.plot_features(), folder, "features")
        if "width" in self.features:
            save_plot(self.plot_spans(), folder, "spans")
        names = [f"{name}.csv" for name in TABLES]
        (folder / CLOCKS).unlink(missing_ok=True)
        if self.clocks is not None:
            table = self.clocks.to_csv(index=False, float_format="%.6g", lineterminator="\n")
            files.write(folder / CLOCKS, table.encode())
            names.append(CLOCKS)
            save_plot(self.plot_clocks(), folder, "clocks")
        (folder / FILE).unlink(missing_ok=True)
        if self.shown is not None:
            self.shown.save(folder / FILE)
            names.append(FILE)
        digests = {name: digest(folder / name) for name in names}
        write_json(folder / ABOUT, files.with_digest(asdict(self.about) | {"sha256": digests}))
        return folder

    @classmethod
    def read(cls, folder: Path | str) -> PositionProfile:
        """What `save` wrote.

        Raises:
            ProfileError: a file is missing, damaged or altered.
        """
        folder, remedy = Path(folder), "profile the dictionary again"
        said = files.read_json(folder / ABOUT, remedy, raised=ProfileError)
        if said.get(UNFINISHED):
            raise ProfileError(f"{folder} holds a profile that was not written to its end: {remedy}")
        digests = said.pop("sha256", {})  # profiles of before there were digests have none
        with files.intact(folder / ABOUT, remedy, ProfileError):
            about = About(**said)
        tables = {}
        for name in TABLES:
            with files.intact(path := folder / f"{name}.csv", remedy, ProfileError):
                if digest(path) != digests.get(path.name, digest(path)):
                    raise ValueError("it is truncated or altered")
                tables[name] = pd.read_csv(path, index_col=0 if name in INDEXED else None)
        shown = clocks = None
        if FILE in digests:
            with files.intact(path := folder / FILE, remedy, ProfileError):
                if digest(path) != digests[FILE]:
                    raise ValueError("it is truncated or altered")
                shown = Shown.read(path)
        if CLOCKS in digests:
            with files.intact(path := folder / CLOCKS, remedy, ProfileError):
                if digest(path) != digests[CLOCKS]:
                    raise ValueError("it is truncated or altered")
                clocks = pd.read_csv(path, dtype={"since": str}).rename(columns=_number)
        return cls(about, shown=shown, clocks=clocks, **tables | {"rates": tables["rates"].rename(columns=int)})

    @property
    def name(self) -> str:
        """What figures call the dictionary: the last part of where it came from."""
        return Path(self.about.dictionary).name

    def headline(self) -> pd.DataFrame:
        """The few numbers to look at first, over text positions: columns measure, value, unit."""
        rows = self.summary[self.summary["positions"] == "text"].set_index("metric")
        value = rows["value"]
        shown = [("FVU", "fvu", "fraction of variance")]
        if value["outlier_tokens"]:
            tokens = f"{value['outlier_tokens']:.0f} of {rows.loc['outlier_tokens', 'n']:.0f} tokens"
            held = f"{tokens} with massive activations, which hold {value['outlier_share']:.0%} of the variance"
            shown.append((f"FVU without {held}", "fvu_without_outliers", "fraction of variance"))
        shown += [
            ("L0", "l0", "features per token"), ("ΔCE", "delta_ce", "nats per token"), ("KL", "kl", "nats per token"),
        ]  # fmt: skip
        if "positional_share" in value:
            tested = rows.loc["positional_share", "n"]
            shown.append((f"positional, of {tested:.0f} features tested", "positional_share", "fraction of features"))
            shown.append(("the same in shifted windows", "positional_share_null", "fraction of features"))
        for metric in value.index:
            if metric.startswith("since_") and metric.endswith("_share"):
                clock, tested = metric[len("since_") : -len("_share")], rows.loc[metric, "n"]
                shown.append((f"by tokens since {clock}, of {tested:.0f} tested", metric, "fraction of features"))
                given = f"positional_given_{clock}_share"
                shown.append(("  by position, at equal distance from it", given, "fraction of features"))
        shown.append((f"with a span from position {FIRST_SPAN} on", "late_span_share", "fraction of features"))
        shown.append(("  its width, median", "late_width_q50", "positions"))
        shown += [(f"  {verdict}", f"verdict: {verdict}", "features") for verdict in VERDICTS]
        return pd.DataFrame(
            [(name, value[metric], unit) for name, metric, unit in shown if metric in value],
            columns=["measure", "value", "unit"],
        )

    def __repr__(self) -> str:
        a = self.about
        lines = [f"{r.measure:<60} {r.value:.3g} {r.unit}" for r in self.headline().itertuples()]
        where = f"{a.place}, {a.windows} windows of {a.length} tokens{'' if a.bos or a.given else ' without BOS'}"
        return "\n".join([f"PositionProfile of {a.dictionary}, {where}", *lines])

    def _repr_html_(self) -> str:
        title = html.escape(self.__repr__().partition("\n")[0])
        return f"<p>{title}</p>{self.headline().to_html(index=False, float_format='{:.3g}'.format, border=0)}"


def check_folder(folder: Path | str) -> None:
    """Whether a profile can be saved in a folder.

    Raises:
        ProfileError: files lie there under the names of a profile's that no profile wrote.
        OSError: the folder can't be made or written in.
    """
    files.check_can_hold(folder)
    folder = Path(folder)
    figures = (*position_figures.METRICS, "features", "spans", "clocks")
    names = {ABOUT, CLOCKS, FILE, *(f"{name}.csv" for name in TABLES)}
    names |= {f"{name}.{kind}" for name in figures for kind in ("svg", "png", "json")}
    there = sorted(name for name in names if os.path.lexists(folder / name))
    if there and not _of_a_profile(folder / ABOUT):
        raise ProfileError(
            f"{folder} holds {', '.join(there[:4])}, which no profile wrote, and which would be replaced: name another"
        )


def _of_a_profile(path: Path) -> bool:
    try:
        said = files.read_json(path)
    except files.ConfigError:
        return False
    return UNFINISHED in said or {"dictionary", "model", "windows", "permutations"} <= set(said)


def _number(column: str) -> str | int:
    return int(column) if column.isdecimal() else column

"""What a dictionary does at each position of a text: any dictionary, any language model, no training."""

from __future__ import annotations

import copy
import html
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lens import files
from lens.activations import language_model
from lens.activations.corpus import LEAST_HELD_OUT, Windows, draw_windows
from lens.activations.documents import Corpus
from lens.activations.language_model import LanguageModel
from lens.activations.layers import Layer, as_layer
from lens.activations.offset_windows import TILES, draw_offset_windows
from lens.activations.split import Text, as_dataset
from lens.activations.store import LayerStore, digest, write_json
from lens.dictionaries.compatible import check_fits
from lens.dictionaries.dictionary import Dictionary
from lens.dictionaries.load import load
from lens.dictionaries.wrapped import Encodes, Wrapped
from lens.errors import whole
from lens.figures import features as feature_figures
from lens.figures import positions as position_figures
from lens.figures.looks import Looks
from lens.figures.plot import FigureError, Plot
from lens.figures.plot import save as save_plot
from lens.figures.spans import span_distributions
from lens.measure.late_spans import FIRST as FIRST_SPAN
from lens.measure.offsets import MIN_SEGMENTS
from lens.measure.position_information import NULL_DRAWS
from lens.measure.profiles import PERMUTATIONS, Profile, position_labelling
from lens.measure.verdicts import VERDICTS
from lens.profiling.features import FIRST, Measured, per_feature
from lens.profiling.late_spans import late_measures
from lens.profiling.layer import measure_dictionaries
from lens.profiling.layer_data import LayerData
from lens.profiling.specialisation import specialisation
from lens.progress import track

BATCH_WINDOWS = 16  # per forward pass
SHORTEST = 8  # tokens of a window of which a profile can be taken
OFF = 2  # factor between L0 and what the dictionary states, from which on something is wrong
TABLES, INDEXED = ("summary", "positions", "features", "rates", "null_rates"), ("rates", "null_rates")
KEY = ("dictionary", 0)  # variant and seed in the tables, which are shaped like those of a study


class ProfileError(ValueError):
    """A profile cannot be taken of this dictionary, model and text; the message says what does not fit."""


@dataclass(frozen=True)
class About:
    """What was profiled: enough to do it again."""

    dictionary: str
    model: str
    layer: str
    text: str
    """sha256 of the text"""
    windows: int
    length: int
    """T, tokens of a window"""
    fidelity_windows: int
    """windows on which the dictionary was spliced into the model"""
    permutations: int
    seed: int
    bos: bool = True
    """whether position 0 held BOS"""


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
        where = f"layer {self.about.layer} of {self.about.model}"
        return feature_figures.card(feature, self.features, self.rates, self.null_rates, where)

    def save(self, folder: Path | str) -> Path:
        """Write every table as CSV, the figures and, last, `about.json` into `folder`, which is made; the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
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
        digests = {f"{name}.csv": digest(folder / f"{name}.csv") for name in TABLES}
        write_json(folder / "about.json", files.with_digest(asdict(self.about) | {"sha256": digests}))
        return folder

    @classmethod
    def read(cls, folder: Path | str) -> PositionProfile:
        """What `save` wrote.

        Raises:
            ProfileError: a file is missing, damaged or altered.
        """
        folder, remedy = Path(folder), "profile the dictionary again"
        said = files.read_json(folder / "about.json", remedy, raised=ProfileError)
        digests = said.pop("sha256", {})  # profiles of before there were digests have none
        with files.intact(folder / "about.json", remedy, ProfileError):
            about = About(**said)
        tables = {}
        for name in TABLES:
            with files.intact(path := folder / f"{name}.csv", remedy, ProfileError):
                if digest(path) != digests.get(path.name, digest(path)):
                    raise ValueError("it is truncated or altered")
                tables[name] = pd.read_csv(path, index_col=0 if name in INDEXED else None)
        return cls(about, **tables | {"rates": tables["rates"].rename(columns=int)})

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
        where = (
            f"layer {a.layer} of {a.model}, {a.windows} windows of {a.length} tokens{'' if a.bos else ' without BOS'}"
        )
        return "\n".join([f"PositionProfile of {a.dictionary}, {where}", *lines])

    def _repr_html_(self) -> str:
        title = html.escape(self.__repr__().partition("\n")[0])
        return f"<p>{title}</p>{self.headline().to_html(index=False, float_format='{:.3g}'.format, border=0)}"


def profile(
    sae: Dictionary | Encodes | Path | str,
    model: LanguageModel | str | os.PathLike,
    text: Text,
    *,
    layer: Layer | None = None,
    windows: int = 256,
    length: int | None = None,
    fidelity: int = 16,
    permutations: int = PERMUTATIONS,
    offsets: int = 0,
    seed: int = 0,
    trust: bool = False,
) -> PositionProfile:
    """Profile a dictionary by position on a text. Costs the language model's forward passes and little more.

    Args:
        sae: a dictionary, or where to find one (`lens.load`: a folder or a hub id, of any format it knows), or a module
            of any library with `encode` and `decode` (`lens.dictionaries.wrapped`). It is copied and left as it is.
        model: a language model, or its name (`lens.activations.language_model.load`).
        text: a corpus by name, the path of a UTF-8 text file, a list of documents, or a data set with `text` and
            `document`. It should be text that the dictionary was not trained on.
        layer: the block after which the dictionary reads; by default the one that it says it was trained on.
        windows: how many, without overlap, spread over all documents; of a short text all that it has, with a warning,
            if they are `lens.activations.corpus.LEAST_HELD_OUT` (16) or more. A feature needs 100 firings for a test of
            position and 300 for a width: with 256 windows of 128 tokens, a density of 0.3 % and 1 %.
        length: T, tokens of a window, at least 8; by default 128, or the dictionary's T if that is less. Position 0
            holds BOS, or text where the tokenizer has no BOS or the dictionary says that it was trained without
            (`Info.bos`), and is not counted among the `text` positions.
        fidelity: windows on which the reconstruction is spliced into the model, for Delta CE and KL; 0: none.
        permutations: of the null of the position test, at least 40.
        offsets: M, 2 or more: read as much text as `windows` hold M times, in windows that start at different places,
            and say of each feature whether it is specialised, inherits its profile, or follows the text (columns
            verdict and others of `features`, see `lens.profiling.specialisation`); 0: don't.
        seed: draws windows and permutations, at least 0.
        trust: as in `lens.load`: let code of somebody's own run that a folder names.

    Raises:
        ProfileError: no layer is known, or a context longer than the dictionary's positions.
        ConfigError: a number that is out of range.
        ValueError: the dictionary does not fit the model's width or the hook, or the text is too short; both sides
            are named. See `lens.load` and `lens.activations.corpus` for what else can be wrong with either.
    """
    windows, fidelity, seed = whole("windows", windows, 1), whole("fidelity", fidelity, 0), whole("seed", seed, 0)
    permutations, offsets = whole("permutations", permutations, 2 * NULL_DRAWS), whole("offsets", offsets, 0)
    text = as_dataset(text)
    opened = load(sae, trust=trust) if isinstance(sae, str | Path) else copy.deepcopy(sae)
    model = language_model.load(model) if isinstance(model, str | os.PathLike) else model
    name = str(sae) if isinstance(sae, str | Path) else ""
    sae = (opened if isinstance(opened, Dictionary) else Wrapped(opened, model.d_model)).eval()
    name = name or sae.info.name or type(sae).__name__
    layer = as_layer(_layer_of(sae) if layer is None else layer)
    check_fits(sae, model, layer)
    _warn_of_another_model(sae.info.model, model.name)
    length = _length_of(sae) if length is None else whole("length", length, SHORTEST)
    _check_length(sae, length)
    if fidelity and not model.causal:
        raise ProfileError(f"{model.name} is an encoder and predicts no next token: pass fidelity=0")
    bos_id = model.bos_id if sae.info.bos else None
    cut = _windows(text, model, windows, length, bos_id, seed)
    windows = len(cut.tokens)
    data = _layer_data(cut, model, layer)
    if (x := data.test.activations[:, 1:]).eq(x[0, 0]).all():
        raise ProfileError(f"the activations at layer {layer} are the same at every token: profile on text that varies")
    tables, measured = measure_dictionaries(
        {KEY: sae.float().cpu()}, data, model, labellings={FIRST: position_labelling(windows, length)},
        spliced=list(range(min(fidelity, windows))), by_document=False, permutations=permutations, seed=seed,
    )  # fmt: skip
    found = measured[KEY]
    features = _features(found)
    if offsets:
        features = features.merge(
            _verdicts(sae, data, model, text, found, offsets, bos_id, permutations, seed), on="feature"
        )
    about = About(
        name, model.name, str(layer), cut.digest, windows, length, min(fidelity, windows), permutations, seed,
        bos_id is not None,
    )  # fmt: skip
    rates = pd.DataFrame(
        found.profile.firings_TK / found.profile.windows, index=pd.RangeIndex(1, length, name="position")
    )
    summary = pd.concat(
        [_own_rows(tables["summary"]), _positional_rows(found), _verdict_rows(features)], ignore_index=True
    )
    _warn_of_other_inputs(sae, summary, data.scale)
    return PositionProfile(about, summary, _own_rows(tables["positions"]), features, rates, _null_band(found.profile))


def _verdicts(
    sae: Dictionary, data: LayerData, model: LanguageModel, text: Corpus, found: Measured, offsets: int,
    bos_id: int | None, permutations: int, seed: int,
) -> pd.DataFrame:  # fmt: skip
    n, length = data.test.tokens.shape
    drawn = draw_offset_windows(
        text,
        model.tokenizer,
        max(MIN_SEGMENTS, n // (2 * TILES)),
        length,
        readings=offsets,
        bos_id=bos_id,
        seed=seed,
    )
    read = (
        _read(model, torch.from_numpy(tokens).flatten(0, 1), data.layer).unflatten(0, tokens.shape[:2])
        for tokens in track(drawn.tokens, f"text read at {offsets} offsets", "stretches")
    )
    return specialisation(sae, data.test, drawn, read, found.positional_K, permutations=permutations, seed=seed)


def _layer_data(cut: Windows, model: LanguageModel, layer: Layer) -> LayerData:
    """Windows of text with their activations, which also set the scale of errors: those of training are not known."""
    tokens, document, start = (torch.as_tensor(a) for a in (cut.tokens, cut.document, cut.start))
    store = LayerStore(_residual_stream(model, tokens, layer), tokens, document, start, cut.documents, {})
    return LayerData(layer, lambda split: store)


def _warn_of_another_model(trained_on: str, name: str) -> None:
    """A model goes by several names, so that one name which is not the other is no proof."""
    if trained_on and trained_on.split("/")[-1].lower() != name.split("/")[-1].lower():
        warnings.warn(
            f"the dictionary says that it was trained on {trained_on}, and is profiled on {name}", stacklevel=3
        )


def _warn_of_other_inputs(sae: Dictionary, summary: pd.DataFrame, scale: float) -> None:
    """What a dictionary gives of activations in another scale than those that it was trained on, or of other ones."""
    value = summary[summary["positions"] == "text"].set_index("metric")["value"]
    said = []
    if not value["fvu"] <= 1:
        said.append(f"FVU is {value['fvu']:.3g}, where the mean of the activations alone gives 1")
    stated, l0 = sae.stated_l0, value["l0"]
    if stated and not stated / OFF <= l0 <= stated * OFF:
        said.append(f"L0 is {l0:.3g}, where the dictionary states {stated}")
    if said:
        warnings.warn(
            f"{'; '.join(said)}. Was it trained on activations in another scale (here their norm is about "
            f"{value['sq_norm'] ** 0.5 / scale:.3g}), of another model or layer? A factor that inputs were multiplied "
            "by in training is norm_scaling_factor= of lens.load",
            stacklevel=3,
        )


def _layer_of(sae: Dictionary) -> Layer:
    if not sae.info.layer:
        if hook := sae.info.hook:
            raise ProfileError(f"the dictionary reads {hook}, which is not the residual stream after a block")
        raise ProfileError("the dictionary does not say which layer it reads: pass layer= (--layer on a command line)")
    return sae.info.layer


def _length_of(sae: Dictionary) -> int:
    return min(128, sae.info.n_positions or 128)


def _check_length(sae: Dictionary, length: int) -> None:
    trained = sae.info.n_positions
    if trained is not None and length > trained:
        raise ProfileError(
            f"windows of {length} tokens asked for, this dictionary has positions 0..{trained - 1}: "
            f"pass length={trained} or less"
        )
    if length < SHORTEST:
        raise ProfileError(f"the dictionary has {length} positions, a profile needs {SHORTEST}")


def _windows(text: Corpus, model: LanguageModel, n: int, length: int, bos_id: int | None, seed: int) -> Windows:
    options = {"starts": "disjoint", "bos": bos_id is not None, "bos_id": bos_id, "seed": seed}
    options |= {"least": LEAST_HELD_OUT, "name": "text to profile on"}
    return draw_windows(text, model.tokenizer, n, length, **options)


def _residual_stream(model: LanguageModel, tokens: Tensor, layer: Layer) -> Tensor:
    """Activations [n, T, d] in the model's precision, on the CPU."""
    batches = track(tokens.split(BATCH_WINDOWS), "language model", "batches")
    return torch.cat([_read(model, batch, layer) for batch in batches])


def _read(model: LanguageModel, tokens: Tensor, layer: Layer) -> Tensor:
    return model.residual_stream(tokens, [layer])[layer].cpu()


def _own_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the dictionary and of the activations, without the columns that tell dictionaries apart."""
    return table.drop(columns=["variant", "seed"])


def _features(found: Measured) -> pd.DataFrame:
    features = per_feature(found)
    features["information"] = features["information"].where(found.position[FIRST].eligible_K)
    return features.drop(columns=["mask_run"] if found.mask_TK is None else [])


def _positional_rows(found: Measured) -> pd.DataFrame:
    position = found.position[FIRST]
    eligible, K = int(position.eligible_K.sum()), len(position.eligible_K)
    rows = [
        ("text", "eligible_features", float(eligible), K, "features"),
        ("text", "positional_share", position.share_significant, eligible, "fraction of eligible features"),
        ("text", "positional_share_null", position.null_share, eligible, "fraction of eligible features"),
    ]
    late, tested = late_measures(found.late, found.spans.density_K), int(found.late.get("depth", pd.Series()).count())
    rows += [("text", name, value, tested, unit) for name, (value, unit) in late.items()]
    return pd.DataFrame(rows, columns=["positions", "metric", "value", "n", "unit"]).dropna(subset="value")


def _verdict_rows(features: pd.DataFrame) -> pd.DataFrame:
    counts = features["verdict"].value_counts() if "verdict" in features else {}
    rows = [
        ("text", f"verdict: {verdict}", float(counts[verdict]), len(features), "features")
        for verdict in VERDICTS
        if verdict in counts
    ]
    return pd.DataFrame(rows, columns=["positions", "metric", "value", "n", "unit"])


def _null_band(found: Profile) -> pd.DataFrame:
    """A circular shift makes all positions alike, so the band of a feature is one for all of them."""
    rates = found.permuted_firings_RTK.reshape(-1, found.permuted_firings_RTK.shape[-1]) / found.windows
    low, high = np.quantile(rates, [0.025, 0.975], axis=0)
    return pd.DataFrame({"low": low, "high": high}, index=pd.RangeIndex(len(low), name="feature"))

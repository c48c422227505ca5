"""The explorer of profiles: any dictionaries, side by side in one file, without a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lens.explorer import page
from lens.explorer.data import StudyData, study_part
from lens.explorer.layer import header
from lens.explorer.pack import Part, plain
from lens.measure.clusters import standardise
from lens.measure.matching import SHARED
from lens.measure.spans import smooth
from lens.profiling.position_profile import PositionProfile, ProfileError
from lens.profiling.shown import Shown

CHUNK = 1024  # directions compared with all of another dictionary at a time
COMPARED = ("fvu", "l0", "delta_ce", "silent_features", "eligible_features", "positional_features")


def build(folders: Sequence[Path | str], path: Path | str) -> Path:
    """Write the explorer of profiles that were saved in folders.

    Raises:
        ProfileError: a folder holds no intact profile, or one without contexts, or one is named twice.
    """
    page.check_place(Path(path))
    return page.write(collect(read_all(folders)), Path(path))


def read_all(folders: Sequence[Path | str]) -> dict[str, PositionProfile]:
    """Profiles by their folders, in this order; errors are those of `build`."""
    read = {str(folder): PositionProfile.read(folder) for folder in folders}
    if len(read) < len(folders):
        raise ProfileError(f"a profile is named twice: {', '.join(map(str, folders))}")
    return read


def collect(profiles: Mapping[str, PositionProfile]) -> list[StudyData]:
    """Everything the page shows of profiles, which are given by their folders."""
    bare = [folder for folder, profile in profiles.items() if profile.shown is None]
    if bare:
        raise ProfileError(
            f"{', '.join(bare)} kept no contexts to show: profile with contexts=3 (--contexts 3 on a command line)"
        )
    names = [profile.name for profile in profiles.values()]
    if len(set(names)) < len(names):  # the folders tell apart what dictionaries of one name don't
        names = list(profiles)
    named = dict(zip(names, profiles.values(), strict=True))
    numbers = {name: _numbers(profile) for name, profile in named.items()}
    beside = [
        {"name": name, "place": profile.about.place}
        | {key: plain([numbers[name][key]])[0] for key in COMPARED if key in numbers[name]}
        for name, profile in named.items()
    ]
    return [_page_of(name, named, numbers[name], beside) for name in named]


def _page_of(
    name: str, named: Mapping[str, PositionProfile], numbers: Mapping[str, float], beside: list[dict]
) -> StudyData:
    profile = named[name]
    about, shown = profile.about, _shown(profile)
    layer = about.layer or "given"
    twins = [_twins(profile, other, key) for key, other in named.items() if key != name and _same(profile, other)]
    shared = np.sum([np.array(twin["shared"]) for twin in twins], axis=0) if twins else 0
    features = profile.features.assign(cluster=-1, shared_with_seeds=shared)
    described = header(layer, shown.reading, features, numbers)
    described |= {"twins": twins, "clusters": None, "lens": shown.facts["lens"]}
    facts = {key: shown.facts[key] for key in ("architecture", "position", "causal", "quantisation")} | {
        "study": name, "profile": True, "model": about.model, "model_note": "", "variant": name, "seeds": [],
        "bos": about.bos, "given": about.given, "beside": beside, "band_permutations": shown.reading.permutations,
    }  # fmt: skip
    part = study_part(facts, shown.text, about.windows, shown.facts["documents"], [layer])
    return StudyData(name, part, {layer: Part(described, shown.reading.arrays)})


def _shown(profile: PositionProfile) -> Shown:
    assert profile.shown is not None  # `collect` has looked
    return profile.shown


def _numbers(profile: PositionProfile) -> dict[str, float]:
    """By the names of a study's tables."""
    rows = profile.summary[profile.summary["positions"] == "text"]
    values = rows.set_index("metric")["value"].to_dict()
    values["positional_features"] = float(profile.features["positional"].sum())
    if "positional_share_null" in values:
        values["positional_share_1_null"] = values["positional_share_null"]
    return values


def _same(a: PositionProfile, b: PositionProfile) -> bool:
    """Whether the directions of two dictionaries can be compared: of one place in one model, and both known."""
    one, other = _shown(a).directions, _shown(b).directions
    if one is None or other is None or a.about.place != b.about.place:
        return False
    return one.shape[1] == other.shape[1]


def _twins(profile: PositionProfile, other: PositionProfile, name: str) -> dict:
    """The feature of another dictionary whose direction is most similar to each one's: cosine, and correlation of the
    two smoothed profiles."""
    (a, one), (b, two) = ((_shown(p).directions, _shown(p).reading.arrays["firings"]) for p in (profile, other))
    assert a is not None and b is not None  # `_same` has looked
    number, cosine = np.zeros(len(a), int), np.zeros(len(a))
    theirs = b.astype(np.float32).T
    for first in range(0, len(a), CHUNK):
        rows = slice(first, first + CHUNK)
        similar = a[rows].astype(np.float32) @ theirs
        number[rows], cosine[rows] = similar.argmax(1), similar.max(1)
    twin = {
        "name": name,
        "study": name,
        "layer": other.about.layer or "given",
        "feature": number.tolist(),
        "decoder": plain(cosine, 3),
        "shared": plain(cosine >= SHARED),
    }
    if one.shape[1] == two.shape[1]:
        mine, its = (standardise(smooth(x.T.astype(float))) for x in (one, two))
        with np.errstate(invalid="ignore"):
            twin["profile"] = plain((mine * its[:, number]).mean(0), 3)
    return twin

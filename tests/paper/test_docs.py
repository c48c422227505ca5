import inspect

import pytest

import lens
from paper import docs


def test_the_committed_pages_are_what_the_code_says(tmp_path):
    """`make docs` renews them."""
    for path in docs.build(tmp_path):
        assert path.read_bytes() == (docs.FOLDER / path.name).read_bytes(), f"{path.name} is stale: run `make docs`"


def test_every_public_name_has_a_place_on_the_page(tmp_path):
    page = (docs.build(tmp_path)[1]).read_text()
    for name in lens.__all__:
        assert f'id="{name}"' in page, name


@pytest.mark.parametrize("name", lens.__all__)
def test_public_names_are_documented(name):
    thing = getattr(lens, name)
    text = inspect.getdoc(thing) or ""
    assert len(text.split()) > 5, name
    if inspect.isfunction(thing):
        for parameter in inspect.signature(thing).parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter.name})"

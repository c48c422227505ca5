import inspect

import pytest

import lens
from paper import docs


def test_every_public_name_has_a_place_on_the_page(tmp_path):
    page = docs.build(tmp_path).read_text()
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

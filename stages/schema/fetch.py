"""The ``fetch`` section of params.yaml."""

from stages.base.params import Section


class Fetch(Section):
    """The catalog items that ``dvc repro`` fetches, one stage each."""

    items: list[str]

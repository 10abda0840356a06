"""Our kinds of block by their slugs."""

from blocks import collection, kinds


def test_all_kinds_of_our_collection_are_known_by_their_slugs():
    """One that is missing would cost a second at each start, and nobody would see it."""
    ours = {getattr(collection, name).get_block_type_slug(): name for name in collection.__all__}
    assert {slug: name for slug, (_, name) in kinds.OURS.items()} == ours
    for slug in ours:
        assert kinds.kind_of(slug) is getattr(collection, ours[slug])

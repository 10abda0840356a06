"""Our blocks on a real server: saved, changed by another release, and read again."""

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]

OLDER = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.blocks.core import Block
from host.loading import load, load_clusters, load_settings, load_state_db
name = sys.argv[1]
async def main():
    settings = await load_settings(name)
    references = [settings.state_db, *settings.clusters, f"workset-settings/{name}"]
    async with get_client() as client:
        for reference in references:
            block = await load(reference, Block)
            assert reference.endswith(f"/{block._block_document_name}"), block._block_document_name
            document = await client.read_block_document(block._block_document_id)
            await client.update_block_document(
                document.id,
                BlockDocumentUpdate(data={"gone_since": 1, **document.data}),
            )
    again = await load_settings(name)
    db = await load_state_db(name)
    clusters = await load_clusters(again, lambda *failed: pytest.fail(str(failed)))
    assert again == settings, (again, settings)
    await again.save(name, overwrite=True)
    print(type(db).__name__, *(c.cluster_name for c in clusters))
asyncio.run(main())
"""


def test_blocks_of_an_older_release_load_and_are_saved_again(site):
    site.configure(clusters=2)
    printed = site.call("-c", OLDER, site.name)
    assert f"SQLiteStateDB {site.name}-c0 {site.name}-c1" in printed


IMPORTED = """
import asyncio, sys
from host.loading import load_clusters, load_settings, load_state_db
async def main():
    settings = await load_settings(sys.argv[1])
    await load_state_db(sys.argv[1])
    await load_clusters(settings, lambda *failed: sys.exit(str(failed)))
asyncio.run(main())
print(sorted({"boto3", "prefect_aws", "asyncssh"} & sys.modules.keys()))
"""


def test_what_starts_without_aws_imports_nothing_of_it(site):
    """A second of each start and of each command."""
    site.configure(clusters=2)
    assert site.call("-c", IMPORTED, site.name).strip() == "[]"

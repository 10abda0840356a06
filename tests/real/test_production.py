"""The production shape: DynamoDB decides, worksets come from S3 and go back to it."""

import uuid

import boto3
import pytest
from prefect.settings import temporary_settings

from blocks.notify import SnsTopic, SqsQueue
from tests.real.test_command_line import worksets
from tests.services import credentials, dynamodb_state_db
from worksets.errors import ConfigurationError
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

BLOCK = """
import sys
from prefect.filesystems import LocalFileSystem
from prefect_aws.s3 import S3Bucket
from tests.real.test_command_line import worksets
from tests.services import credentials
url, bucket, name, folder = sys.argv[1:]
block = S3Bucket(bucket_name=bucket, bucket_folder="incoming", credentials=credentials(url))
block.save(name, overwrite=True)
LocalFileSystem(basepath=folder).save(name, overwrite=True)
"""
YAML = """
samples: [{sample_id: s1, fastq_r1: reads/s1_R1.fq.gz, fastq_r2: reads/s1_R2.fq.gz}]
reference_genome: hg38
customer_id: acme
"""
COPY = 'cat "$0"/reads/* > "$1"/all.txt'


def test_worksets_in_s3_with_their_state_in_dynamodb(site, dynamodb_url, moto_url):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    s3 = boto3.client("s3", endpoint_url=moto_url, region_name="us-east-1", **keys)
    bucket = f"b{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)

    def upload(id_, *names, yaml=YAML):
        for name in names:
            s3.put_object(Bucket=bucket, Key=f"incoming/{id_}/{name}", Body=name.encode())
        if yaml:
            key = f"incoming/{id_}/daylily_work.yaml"
            s3.put_object(Bucket=bucket, Key=key, Body=yaml.encode())

    both = ("reads/s1_R1.fq.gz", "reads/s1_R2.fq.gz")
    upload("good", *both)
    upload("half", both[0])
    upload("thief", *both, yaml=YAML.replace("acme", "cedar"))
    upload("coming", *both, yaml="")
    local = site.folder / "worksets" / "at-home" / "reads"
    local.mkdir(parents=True)
    for name in both:
        (local.parent / name).write_text(name)
    (local.parent / "daylily_work.yaml").write_text(YAML.replace("acme", "home"))
    site.call("-c", BLOCK, moto_url, bucket, site.name, str(site.folder / "worksets"))

    db = dynamodb_state_db(dynamodb_url)
    site.environment |= {
        "AWS_ENDPOINT_URL_S3": moto_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    below = {"inputs": [f"s3://{bucket}/incoming"], "exports": [f"s3://{bucket}/results/acme"]}
    site.configure(
        clusters=1,
        customers={"acme": below, "cedar": {"inputs": [f"s3://{bucket}/cedar"]}, "home": {}},
        delivery_minutes=0,
        overrides={
            "clusters": [
                {
                    "type": "local-cluster",
                    "cluster_name": f"{site.name}-c0",
                    "max_concurrent_worksets": 3,
                    "work_folder": "c0",
                    # a job sees no keys but those that it is given
                    "pass_environment": [key for key in site.environment if key[:4] == "AWS_"],
                }
            ],
            "state_db": {
                "type": "dynamodb",
                "table_name": db.table_name,
                "region_name": "us-west-2",
                "endpoint_url": dynamodb_url,
            },
            "worksets": [f"s3-bucket/{site.name}", f"local-file-system/{site.name}"],
            "results": f"s3://{bucket}/results",
            "pipelines": {"germline": {"run": ["sh", "-c", COPY, "{inputs}", "{results}"]}},
        },
    )
    site.finish(site.poller())
    good, half, thief = (db.get(id_) for id_ in ("good", "half", "thief"))
    assert good.state is State.COMPLETE and good.location == f"s3://{bucket}/incoming/good"
    assert good.input_bytes == sum(map(len, both))
    body = s3.get_object(Bucket=bucket, Key="results/acme/good/all.txt")["Body"].read()
    assert body == "".join(both).encode()
    assert db.get("at-home").state is State.COMPLETE
    body = s3.get_object(Bucket=bucket, Key="results/home/at-home/all.txt")["Body"].read()
    assert body == "".join(both).encode()
    assert half.state is State.FAILED and "s1_R2.fq.gz is not there" in half.error_details
    assert thief.state is State.FAILED and "only below" in thief.error_details
    assert db.known(["coming"]) == {}, "an upload on its way is no workset yet"

    # it is found once its file is there, by a poller that starts from the saved cursor
    upload("coming", yaml=YAML)
    site.finish(site.poller())
    assert db.get("coming").state is State.COMPLETE
    assert db.holders() == {} and db.get_queue_depth()["failed"] == 2


def test_a_table_is_made_protected_and_a_dead_letter_reaches_a_topic_and_a_queue(site, moto_url):
    """Each as the settings name it."""
    aws = credentials(moto_url, key=f"key{uuid.uuid4().hex[:8]}")
    sns, sqs, dynamodb = (aws.get_client(name) for name in ("sns", "sqs", "dynamodb"))
    letters, mails = (sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"] for _ in range(2))
    topic = sns.create_topic(Name=uuid.uuid4().hex)["TopicArn"]
    arn = sqs.get_queue_attributes(QueueUrl=mails, AttributeNames=["QueueArn"])
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])
    with temporary_settings(updates=site.client_settings()):
        SnsTopic(topic_arn=topic, aws_credentials=aws).save(site.name)
        SqsQueue(queue_url=letters, aws_credentials=aws).save(site.name)
    site.environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    overrides = {
        "notifiers": [f"sns-topic/{site.name}", f"sqs-queue/{site.name}"],
        "pipelines": {
            "sleep-1": {"run": ["sh", "-c", "exit 65"]},
            "sleep-3": {"run": ["sh", "-c", 'echo done > "$0/done"', "{results}"]},
        },
    }
    for protected in (False, True):
        name = f"t-{uuid.uuid4().hex}"
        state_db = overrides["state_db"] = {
            "type": "dynamodb", "table_name": name, "region_name": "us-east-1",
            "endpoint_url": moto_url,
        }  # fmt: skip
        if not protected:  # both are the defaults
            state_db |= {"deletion_protection": False, "point_in_time_recovery": False}
        with pytest.raises(ConfigurationError, match=r"no such table .* `worksets create-table`"):
            site.configure(overrides=overrides)
        for told in ("is made", "is there"):
            made = worksets(site, "create-table", "-s", "settings.yaml")
            assert made.returncode == 0 and told in made.stdout, made
        table = dynamodb.describe_table(TableName=name)["Table"]
        backups = dynamodb.describe_continuous_backups(TableName=name)
        status = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        assert table["DeletionProtectionEnabled"] is protected
        assert (status["PointInTimeRecoveryStatus"] == "ENABLED") is protected
    site.configure(overrides=overrides)
    site.add("bad", 1)
    site.add("good", 3)
    site.finish(site.poller())
    for queue in (letters, mails):
        got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
        told = [message["Body"] for message in got]
        assert any("exit code 65" in body for body in told), told
        assert len(told) == 1 or queue is mails, "of what went well the queue hears nothing"

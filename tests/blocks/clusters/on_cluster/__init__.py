"""The programs that run on a cluster, as processes of their own and before moto's S3."""

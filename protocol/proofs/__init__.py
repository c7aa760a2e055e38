"""What can be shown offline to somebody who has the genesis and nothing else."""

#!/bin/sh
# Two machines by hand. Type on the first and on the second, in the project's folder:
#
#   sh examples/workers/two_machines.sh 0 --model=medium --data_path=data/ptb
#   sh examples/workers/two_machines.sh 1 --model=medium --data_path=data/ptb
#
# The first is the chief: it has the run's folder and prints the progress. To try it on
# one machine, type both commands in two terminals, as they are: the default addresses
# are those of this machine.
set -eu
index=$1
shift
workers=${WORKERS:-'"localhost:12345", "localhost:12346"'}
export TF_CONFIG="{
  \"cluster\": {\"worker\": [$workers]},
  \"task\": {\"type\": \"worker\", \"index\": $index}
}"
exec python run_ptb.py "$@"

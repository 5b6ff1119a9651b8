#!/bin/bash
# Masks on a Ray cluster whose nodes see the dataset at one path and have this package installed.
#
#   ray start --head --node-ip-address 10.0.0.1     on one node
#   ray start --address 10.0.0.1:6379               on the others
#   bash masks.sh /data/photographs 10.0.0.1:6379   on any of them
#
# Without an address: a Ray of its own on this machine.
set -euo pipefail

dataset=${1:?give the folder of the pictures}
address=${2:-}

exec semantic-focus masks "$dataset" --engine ray ${address:+--address "$address"}

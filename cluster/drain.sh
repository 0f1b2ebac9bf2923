#!/bin/sh
# Before a pod or machine of the cluster goes: tell Ray, and wait a little. A GAN's training writes a checkpoint at once,
# a classifier's at its next look at validation; Serve starts the node's replicas elsewhere. Kubernetes runs this as the
# workers' preStop hook.
#   sh cluster/drain.sh [NODE]      NODE: Ray's name of the node; without it, the one that runs here
# RAY_ADDRESS says where the cluster is, SECONDS_LEFT (30) how long this node stays.
node=${1:-$(grep -haoE -e '--node_id=[0-9a-f]{56}' /proc/[0-9]*/cmdline 2>/dev/null | head -n 1 | cut -d = -f 2)}
left=${SECONDS_LEFT:-30}
ray drain-node --address "$RAY_ADDRESS" --node-id "$node" --deadline-remaining-seconds "$left" \
    --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "this machine is about to be taken away" || exit 1
sleep "$left"

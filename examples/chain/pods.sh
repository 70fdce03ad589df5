#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the pods of a chain of N operators for `dormouse run -f -`; IMAGE is the module (chain-go or chain-rust).
#   examples/chain/pods.sh 10 chain-go.wasm 96Mi > chain.yaml && dormouse run -f chain.yaml
set -eu
usage() { echo "usage: $0 N IMAGE [MEMORY]" >&2; exit 2; }
case ${1-} in
'' | *[!0-9]*) usage ;;
esac
[ -n "${2-}" ] || usage
i=0
while [ "$i" -lt "$1" ]; do
	cat <<-EOF
	---
	apiVersion: v1
	kind: Pod
	metadata:
	  name: chain-$i
	  namespace: default
	spec:
	  serviceAccountName: chain
	  containers:
	  - name: operator
	    image: $2
	    env:
	    - name: CHAIN_INDEX
	      value: "$i"
	    - name: CHAIN_LENGTH
	      value: "$1"
	    resources:
	      limits:
	        memory: ${3-96Mi}
	EOF
	i=$((i + 1))
done

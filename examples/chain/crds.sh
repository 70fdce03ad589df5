#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the CRDs of a chain of N operators: Link0 … LinkN. Operator i watches Link<i> and writes Link<i+1>.
#   examples/chain/crds.sh 10 | kubectl apply -f -
set -eu
case ${1-} in
'' | *[!0-9]*) echo "usage: $0 N" >&2; exit 2 ;;
esac
i=0
while [ "$i" -le "$1" ]; do
	cat <<-EOF
	---
	apiVersion: apiextensions.k8s.io/v1
	kind: CustomResourceDefinition
	metadata:
	  name: link${i}s.chain.dormouse.example
	spec:
	  group: chain.dormouse.example
	  scope: Namespaced
	  names:
	    kind: Link$i
	    listKind: Link${i}List
	    plural: link${i}s
	    singular: link$i
	  versions:
	  - name: v1
	    served: true
	    storage: true
	    additionalPrinterColumns:
	    - name: Hop
	      type: integer
	      jsonPath: .spec.hop
	    schema:
	      openAPIV3Schema:
	        type: object
	        properties:
	          spec:
	            type: object
	            x-kubernetes-preserve-unknown-fields: true
	            properties:
	              hop:
	                description: How many operators have passed the object on.
	                type: integer
	EOF
	i=$((i + 1))
done

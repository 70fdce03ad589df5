// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"fmt"
	"testing"

	"dormouse.dev/e2e/harness"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const widgetDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.conformance.dormouse.dev}
spec:
  group: conformance.dormouse.dev
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wdg]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        description: A widget of the conformance tests.
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, description: How big it is.}
              color: {type: string}
          status:
            type: object
            properties:
              size: {type: integer}
`

// widgets defines a custom resource.
func widgets(t *testing.T, c *harness.Cluster) { t.Helper(); c.Apply(t, "", widgetDefinition) }

func widget(name string) string { return colored(name, "red") }

func colored(name, color string) string {
	return fmt.Sprintf(`{apiVersion: conformance.dormouse.dev/v1, kind: Widget, metadata: {name: %s, labels: {color: %s}}, spec: {size: 3, color: %s}}`, name, color, color)
}

// widgets is the path of the namespace's widgets.
func (p place) widgets(query string) string {
	return "/apis/conformance.dormouse.dev/v1/namespaces/" + p.ns + "/widgets?" + query
}

var widgetResource = schema.GroupVersionResource{Group: "conformance.dormouse.dev", Version: "v1", Resource: "widgets"}

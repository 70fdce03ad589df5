// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package rest

import "os"

// InClusterConfig is the way to the Kubernetes API of a Dormouse guest: plain HTTP over the host's stream
// /net/kube, which adds the pod's identity. The guest holds no credential.
func InClusterConfig() (*Config, error) {
	if os.Getenv("KUBERNETES_SERVICE_HOST") == "" || os.Getenv("KUBERNETES_SERVICE_PORT") == "" {
		return nil, ErrNotInCluster
	}
	return &Config{
		Host: "http://kube",
		// No TLS is spoken. A config without any TLS setting shares http.DefaultTransport and its two idle
		// connections a host; with one it gets a transport of its own, with as many as in a cluster.
		TLSClientConfig: TLSClientConfig{ServerName: "kube"},
	}, nil
}

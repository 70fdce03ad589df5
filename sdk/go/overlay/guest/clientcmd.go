// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package clientcmd

import "os"

// Possible does not ask for a token file: a Dormouse guest has none.
func (config *inClusterClientConfig) Possible() bool {
	return os.Getenv("KUBERNETES_SERVICE_HOST") != "" && os.Getenv("KUBERNETES_SERVICE_PORT") != ""
}

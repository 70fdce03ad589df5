// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package x509

// A guest finds the certificate authorities where most Linux images have them: the host serves its own
// there, and a volume of the pod may lie over it. SSL_CERT_FILE and SSL_CERT_DIR have the last word.
func init() {
	certFiles = append(certFiles, "/etc/ssl/certs/ca-certificates.crt")
}

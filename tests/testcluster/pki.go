// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// authority is the cluster's certificate authority; it signs the serving and all client certificates.
type authority struct {
	dir         string
	server      string
	certificate *x509.Certificate
	pem         []byte
	key         crypto.Signer
}

// makePKI writes every key and certificate of a new cluster below dir, and the admin's kubeconfig.
func makePKI(dir, server, adminKubeconfig string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca := &authority{dir: dir, server: server}
	if err := ca.makeRoot(); err != nil {
		return err
	}
	cert, key, err := ca.sign("kube-apiserver", nil, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"})
	if err != nil {
		return err
	}
	if err := ca.write("serving", cert, key); err != nil {
		return err
	}
	for _, client := range []struct{ path, user, group string }{
		{adminKubeconfig, "testcluster-admin", "system:masters"},
		{filepath.Join(dir, managerName+".kubeconfig"), "system:kube-controller-manager", ""},
		{filepath.Join(dir, schedulerName+".kubeconfig"), "system:kube-scheduler", ""},
	} {
		if err := ca.writeKubeconfig(client.path, client.user, client.group); err != nil {
			return err
		}
	}
	return ca.writeServiceAccountKey()
}

func (a *authority) makeRoot() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificate("testcluster-ca")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.key, a.pem = key, encode("CERTIFICATE", der)
	return a.write("ca", a.pem, key)
}

func certificate(name string, groups ...string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour), // A virtual machine's clock may step back.
		NotAfter:     time.Now().Add(365 * 24 * time.Hour),
	}
}

// sign makes a certificate: for a server if it has addresses, else for a client.
func (a *authority) sign(name string, groups []string, ips []net.IP, hosts []string) ([]byte, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := certificate(name, groups...)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(ips) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.IPAddresses, template.DNSNames = ips, hosts
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	return encode("CERTIFICATE", der), key, err
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return encode("PRIVATE KEY", der), err
}

func (a *authority) write(name string, certPEM []byte, key crypto.Signer) error {
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.dir, name+".crt"), certPEM, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, name+".key"), keyPEM, 0o600)
}

func (a *authority) writeKubeconfig(path, user, group string) error {
	var groups []string
	if group != "" {
		groups = []string{group}
	}
	cert, key, err := a.sign(user, groups, nil, nil)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	const name = "testcluster"
	return clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{name: {Server: a.server, CertificateAuthorityData: a.pem}},
		AuthInfos:      map[string]*api.AuthInfo{user: {ClientCertificateData: cert, ClientKeyData: keyPEM}},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: user, Namespace: "default"}},
		CurrentContext: name,
	}, path)
}

// writeServiceAccountKey makes the pair by which ServiceAccount tokens are signed and checked.
func (a *authority) writeServiceAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.dir, "service-account.pub"), encode("PUBLIC KEY", public), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, "service-account.key"), keyPEM, 0o600)
}

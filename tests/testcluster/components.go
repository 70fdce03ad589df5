// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJobs name time zones.

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's exec plugins.
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const (
	etcdName       = "etcd"
	apiserverName  = "kube-apiserver"
	managerName    = "kube-controller-manager"
	schedulerName  = "kube-scheduler"
	componentFlag  = "component" // `testcluster component NAME ARGS…`: this binary, started again as one part.
	serviceIPRange = "10.96.0.0/16"
)

// runComponent turns this process into the named part of the control plane.
func runComponent(name string, args []string) int {
	os.Args = append([]string{name}, args...)
	var command *cobra.Command
	switch name {
	case etcdName:
		etcdmain.Main(os.Args)
		return 0
	case apiserverName:
		command = apiserver.NewAPIServerCommand()
	case managerName:
		command = manager.NewControllerManagerCommand()
	case schedulerName:
		command = scheduler.NewSchedulerCommand()
	default:
		fmt.Fprintf(os.Stderr, "testcluster: no component %q\n", name)
		return 2
	}
	return cli.Run(command)
}

// runKubectl does what kubectl's own main function does.
func runKubectl(args []string) {
	os.Args = append([]string{"kubectl"}, args...)
	logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) //nolint:errcheck
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}

// executable returns the program and leading arguments for a component: a ready-made binary from
// KUBEBUILDER_ASSETS if it has one, else this binary.
func executable(name string) (path string, leading []string) {
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		candidate := filepath.Join(assets, name)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "/proc/self/exe", []string{componentFlag, name}
}

// arguments returns the command line of a component; own binaries and ready-made ones take the same.
func (c *cluster) arguments(name string) []string {
	pki := func(file string) string { return filepath.Join(c.dir, "pki", file) }
	port := func(name string) string { return fmt.Sprint(c.state.Components[name].Port) }
	etcdURL := "http://127.0.0.1:" + port(etcdName)
	serving := []string{
		"--bind-address=127.0.0.1", "--secure-port=" + port(name),
		"--tls-cert-file=" + pki("serving.crt"), "--tls-private-key-file=" + pki("serving.key"),
	}
	asClient := []string{
		"--kubeconfig=" + pki(name+".kubeconfig"), "--authentication-kubeconfig=" + pki(name+".kubeconfig"),
		"--authorization-kubeconfig=" + pki(name+".kubeconfig"), "--leader-elect=false",
		"--kube-api-qps=500", "--kube-api-burst=1000",
	}
	switch name {
	case etcdName:
		peerURL := fmt.Sprintf("http://127.0.0.1:%d", c.state.Components[etcdName].PeerPort)
		return []string{
			"--name=default", "--data-dir=" + filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync",
			"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL,
			"--initial-cluster=default=" + peerURL,
			"--log-level=error", // At "info" the embedded server logs each request.
			"--quota-backend-bytes=8589934592", "--auto-compaction-retention=5m",
		}
	case apiserverName:
		args := append(serving,
			"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", // A Service cannot point to loopback.
			"--etcd-servers="+etcdURL,
			"--client-ca-file="+pki("ca.crt"),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file="+pki("service-account.pub"),
			"--service-account-signing-key-file="+pki("service-account.key"),
			"--service-cluster-ip-range="+serviceIPRange,
			"--allow-privileged=true",
			"--audit-log-path="+c.state.AuditLog, "--audit-policy-file="+filepath.Join(c.dir, "audit-policy.yaml"),
			"--audit-log-maxsize=1000000", // Megabytes: never rotated, for tests read it as one file.
		)
		return append(args, c.apiserverArgs...)
	case managerName:
		return append(append(serving, asClient...),
			"--use-service-account-credentials=true",
			"--service-account-private-key-file="+pki("service-account.key"),
			"--root-ca-file="+pki("ca.crt"),
			"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"),
			"--service-cluster-ip-range="+serviceIPRange,
		)
	default:
		return append(serving, asClient...)
	}
}

// auditPolicy logs who asked for what and what came of it, at ResponseStarted (watches) and
// ResponseComplete (all). What the control plane does for itself all the time is left out.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver"]
- level: None
  users: ["system:kube-controller-manager", "system:kube-scheduler"]
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]
- level: Metadata
`

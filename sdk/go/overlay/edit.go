// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// The files that join the edited packages. They are built only there and only for wasip1.
//
//go:embed guest
var guestFiles embed.FS

// A patch is what one package gets: a file of ours, and out of its way the functions that it replaces.
// A replaced function is renamed, not removed, so its file's imports stay in use and ours may call it.
type patch struct {
	importPath string
	file       string // in guest/
	optional   bool   // a shape that is not known leaves the package as it is, with a note
	renames    []rename
	calls      []call
	variables  []string // that our file sets
}

// rename makes function NAME into dormouseName. Shape guards against a function that kept its name only.
type rename struct {
	receiver, name, shape string
}

// call makes the calls of from within function in calls of to.
type call struct {
	in, from, to string
}

var patches = []patch{
	{
		importPath: "net", file: "net.go",
		renames: []rename{
			{"", "socket", "(context.Context, string, int, int, int, bool, sockaddr, sockaddr, func(context.Context, string, string, syscall.RawConn) error) (*netFD, error)"},
			{"netFD", "Close", "() error"},
			{"Resolver", "lookupHost", "(context.Context, string) ([]string, error)"},
			{"Resolver", "lookupIP", "(context.Context, string, string) ([]IPAddr, error)"},
			{"Resolver", "lookupCNAME", "(context.Context, string) (string, error)"},
			{"Resolver", "lookupSRV", "(context.Context, string, string, string) (string, []*SRV, error)"},
			{"Resolver", "lookupMX", "(context.Context, string) ([]*MX, error)"},
			{"Resolver", "lookupNS", "(context.Context, string) ([]*NS, error)"},
			{"Resolver", "lookupTXT", "(context.Context, string) ([]string, error)"},
			{"Resolver", "lookupAddr", "(context.Context, string) ([]string, error)"},
			{"", "setNoDelay", "(*netFD, bool) error"},
			{"", "setKeepAlive", "(*netFD, bool) error"},
			{"", "setKeepAliveIdle", "(*netFD, time.Duration) error"},
			{"", "setKeepAliveInterval", "(*netFD, time.Duration) error"},
			{"", "setKeepAliveCount", "(*netFD, int) error"},
			{"", "setLinger", "(*netFD, int) error"},
			{"", "setReadBuffer", "(*netFD, int) error"},
			{"", "setWriteBuffer", "(*netFD, int) error"},
		},
	},
	{
		importPath: "os/signal", file: "signal.go",
		renames: []rename{
			{"", "loop", "()"},
			{"", "enableSignal", "(int)"},
			{"", "disableSignal", "(int)"},
			{"", "ignoreSignal", "(int)"},
			{"", "signalIgnored", "(int) bool"},
		},
		calls: []call{{"Stop", "signalWaitUntilIdle", "waitUntilIdle"}},
	},
	{
		importPath: "os", file: "os.go",
		renames: []rename{{"", "hostname", "() (string, error)"}},
	},
	{
		importPath: "crypto/x509", file: "x509.go",
		variables: []string{"certFiles"},
	},
	{
		importPath: "k8s.io/client-go/rest", file: "rest.go",
		renames: []rename{{"", "InClusterConfig", "() (*Config, error)"}},
	},
	{
		importPath: "k8s.io/client-go/tools/clientcmd", file: "clientcmd.go",
		renames: []rename{{"inClusterClientConfig", "Possible", "() bool"}},
	},
	{
		importPath: "github.com/fsnotify/fsnotify", file: "fsnotify.go", optional: true,
		renames: []rename{{"", "newBackend", "(chan Event, chan error) (backend, error)"}},
	},
}

// apply gives the texts that replace or join pkg's files, by the path at which the go command looks for
// each. Errors name the package and the function that is not as expected.
func (p patch) apply(pkg goPackage, goVersion string) (map[string][]byte, error) {
	where := func(what string) string {
		from := goVersion
		if pkg.Module != nil {
			from = pkg.Module.Path + " " + pkg.Module.version()
		}
		return fmt.Sprintf("%s of package %s (%s, %s)", what, p.importPath, from, pkg.Dir)
	}
	files := token.NewFileSet()
	source := map[string][]byte{}
	functions := map[string]*ast.FuncDecl{}
	variables := map[string]bool{}
	for _, name := range pkg.GoFiles {
		path := filepath.Join(pkg.Dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		source[path] = text
		for _, declaration := range file.Decls {
			switch declaration := declaration.(type) {
			case *ast.FuncDecl:
				functions[functionKey(receiverOf(declaration), declaration.Name.Name)] = declaration
			case *ast.GenDecl:
				for _, spec := range declaration.Specs {
					if value, ok := spec.(*ast.ValueSpec); ok && declaration.Tok == token.VAR {
						for _, name := range value.Names {
							variables[name.Name] = true
						}
					}
				}
			}
		}
	}

	edits := map[string][]textEdit{} // by path
	change := func(name *ast.Ident, text string) {
		at := files.Position(name.Pos())
		edits[at.Filename] = append(edits[at.Filename], textEdit{at.Offset, len(name.Name), text})
	}
	for _, r := range p.renames {
		key := functionKey(r.receiver, r.name)
		function := functions[key]
		if function == nil {
			return nil, fmt.Errorf("%s is gone", where("function "+key))
		}
		if shape := shapeOf(function.Type); shape != r.shape {
			return nil, fmt.Errorf("%s has become %s, known is %s", where("function "+key), shape, r.shape)
		}
		change(function.Name, renamed(r.name))
	}
	for _, c := range p.calls {
		function := functions[c.in]
		if function == nil {
			return nil, fmt.Errorf("%s is gone", where("function "+c.in))
		}
		calls := 0
		ast.Inspect(function, func(n ast.Node) bool {
			if expression, ok := n.(*ast.CallExpr); ok {
				if name, ok := expression.Fun.(*ast.Ident); ok && name.Name == c.from {
					change(name, c.to)
					calls++
				}
			}
			return true
		})
		if calls == 0 {
			return nil, fmt.Errorf("%s no longer calls %s", where("function "+c.in), c.from)
		}
	}
	for _, name := range p.variables {
		if !variables[name] {
			return nil, fmt.Errorf("%s is gone", where("variable "+name))
		}
	}

	result := map[string][]byte{}
	for path, changes := range edits {
		result[path] = applyEdits(source[path], changes)
	}
	ours, err := guestFiles.ReadFile("guest/" + p.file)
	if err != nil {
		return nil, err
	}
	result[filepath.Join(pkg.Dir, overlayFilePrefix+p.file)] = ours
	return result, nil
}

// overlayFilePrefix marks our files in compilers' messages.
const overlayFilePrefix = "dormouse_guest_"

func renamed(name string) string { return "dormouse" + strings.ToUpper(name[:1]) + name[1:] }

func functionKey(receiver, name string) string {
	if receiver == "" {
		return name
	}
	return "(*" + receiver + ")." + name
}

func receiverOf(function *ast.FuncDecl) string {
	if function.Recv == nil || len(function.Recv.List) == 0 {
		return ""
	}
	kind := function.Recv.List[0].Type
	if pointer, ok := kind.(*ast.StarExpr); ok {
		kind = pointer.X
	}
	if name, ok := kind.(*ast.Ident); ok {
		return name.Name
	}
	return "?"
}

// shapeOf writes a function's type without the names of parameters.
func shapeOf(function *ast.FuncType) string {
	list := func(fields *ast.FieldList) []string {
		var types []string
		if fields == nil {
			return nil
		}
		for _, field := range fields.List {
			for range max(1, len(field.Names)) {
				types = append(types, typeText(field.Type))
			}
		}
		return types
	}
	shape := "(" + strings.Join(list(function.Params), ", ") + ")"
	switch results := list(function.Results); len(results) {
	case 0:
	case 1:
		shape += " " + results[0]
	default:
		shape += " (" + strings.Join(results, ", ") + ")"
	}
	return shape
}

func typeText(expression ast.Expr) string {
	if function, ok := expression.(*ast.FuncType); ok {
		return "func" + shapeOf(function)
	}
	var text bytes.Buffer
	if err := printer.Fprint(&text, token.NewFileSet(), expression); err != nil {
		return "?"
	}
	return text.String()
}

type textEdit struct {
	offset, length int
	text           string
}

func applyEdits(source []byte, edits []textEdit) []byte {
	sort.Slice(edits, func(i, j int) bool { return edits[i].offset < edits[j].offset })
	var result bytes.Buffer
	at := 0
	for _, e := range edits {
		result.Write(source[at:e.offset])
		result.WriteString(e.text)
		at = e.offset + e.length
	}
	result.Write(source[at:])
	return result.Bytes()
}

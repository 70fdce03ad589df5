module dormouse.example/sdk/go/overlay

go 1.25

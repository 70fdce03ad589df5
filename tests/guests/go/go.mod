module guests.dormouse.example

go 1.26.0

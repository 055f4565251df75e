module quartermaster/clients/go

go 1.19

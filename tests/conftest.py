"""Here so that pytest puts tests/ on the path: its helper modules are shared by the folders below."""

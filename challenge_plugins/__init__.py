"""The challenge plugins that come with scep-server. Each is found by its entry point, like a third party's."""

"""The Pulumi components, a folder a layer, and what the layers share."""

"""The endpoints of the organisation's administration, one module for each resource."""

"""The business of the product; the import contracts say who may know whom."""

"""What each platform makes of a broker's answers, written down as tables.

    rules            verdicts, tables, and how an answer is looked up in one
    fields           which fields of an answer came with which version
    service_catalog  cloud_foundry  korifi  service_manager  eden
                     one table each
    replay           recorded requests, sent again and judged

Nothing here imports osbkit: the tables say what clients do, not what a broker
means. Facts marked "seen" were watched on the wire, with the client's own code.
"""
